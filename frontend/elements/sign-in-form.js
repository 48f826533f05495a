import { session } from "../app.js";
import { mailField } from "./field.js";
import { FormView } from "./form.js";

/** Mail address and password of an account that exists. */
class SignInForm extends FormView {
  template() {
    return this.form(
      { id: "sign-in-form", action: "/sign-in" },
      this.field(mailField({ id: "sign-in-email" })),
      this.password({
        id: "sign-in-password",
        name: "password",
        label: "Password",
        autocomplete: "current-password",
      }),
      this.submit("Sign in"),
    );
  }

  send({ email, password }) {
    return session.signIn({ email: email.trim(), password });
  }

  explain({ code }) {
    if (code === "unauthenticated") {
      return { password: "Mail address and password do not belong together. Please try again." };
    }
    if (code === "rate_limited") return { note: "That was one try too many for the moment." };
    return undefined;
  }
}

customElements.define("sign-in-form", SignInForm);
