import { account, toasts } from "../app.js";
import { h } from "../view.js";
import { FormView } from "./form.js";
import { newPassword, weakness } from "./new-password.js";

/** A new password for my account. */
class PasswordForm extends FormView {
  static watches = ["session"];

  template({ session: { user } }) {
    return h(
      "section",
      { class: "sheet", "aria-labelledby": "password-title" },
      h("h2", { id: "password-title" }, "Change password"),
      this.form(
        { id: "password-form", action: "/account" },
        // Not to be typed in: it tells password managers whose password this is.
        h("input", {
          class: "unseen",
          type: "email",
          name: "email",
          autocomplete: "username",
          tabindex: "-1",
          "aria-hidden": "true",
          readonly: true,
          props: { value: user?.email ?? "" },
        }),
        this.password({
          id: "current-password",
          name: "current",
          label: "Current password",
          autocomplete: "current-password",
        }),
        this.password({
          id: "new-password",
          name: "next",
          label: "New password",
          ...newPassword(this.typed.next),
        }),
        h("p", { class: "quiet" }, "All your other devices are signed out with it."),
        this.submit("Change password"),
      ),
    );
  }

  async send({ current, next }) {
    await account.changePassword(current, next);
    this.clear();
    toasts.say("Your password is changed, and all other devices are signed out.", "good");
  }

  explain(problem) {
    switch (problem.code) {
      case "forbidden":
        return { current: "This is not your current password." };
      case "weak_password":
        return { next: weakness(problem) };
      case "rate_limited":
        return { note: "That was one try too many for the moment." };
    }
    return undefined;
  }
}

customElements.define("password-form", PasswordForm);
