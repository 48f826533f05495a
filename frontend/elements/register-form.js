import { session } from "../app.js";
import { mailField } from "./field.js";
import { FormView } from "./form.js";
import { newPassword, weakness } from "./new-password.js";

/** A new account: name, mail address, password. */
class RegisterForm extends FormView {
  template() {
    return this.form(
      { id: "register-form", action: "/sign-in" },
      this.field({
        id: "register-name",
        name: "name",
        label: "Your name",
        autocomplete: "name",
        maxlength: "100",
        required: true,
        "data-missing": "Please tell us how to call you.",
      }),
      this.field(mailField({ id: "register-email" })),
      this.password({
        id: "register-password",
        name: "password",
        label: "Password",
        ...newPassword(this.typed.password),
      }),
      this.submit("Create account"),
    );
  }

  send({ name, email, password }) {
    return session.register({ name: name.trim(), email: email.trim(), password });
  }

  explain(problem) {
    switch (problem.code) {
      case "email_taken":
        return { email: "There is an account with this address already. Sign in to it instead." };
      case "weak_password":
        return { password: weakness(problem) };
      case "rate_limited":
        return { note: "That was one try too many for the moment." };
      case "invalid_request":
        return refusedFields(problem);
    }
    return undefined;
  }
}

const WRONG = {
  name: "Please write your name in one line of up to 100 characters.",
  email: "This does not look like a mail address that letters reach.",
  password: "Please take 12 to 256 characters.",
};

function refusedFields({ fields: { errors = [] } }) {
  const told = errors
    .filter(({ field }) => field in WRONG)
    .map(({ field }) => [field, WRONG[field]]);
  return told.length ? Object.fromEntries(told) : undefined;
}

customElements.define("register-form", RegisterForm);
