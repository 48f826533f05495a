import { router } from "../app.js";
import { icon } from "../icons.js";
import { keep } from "../memory.js";
import { h } from "../view.js";
import { localPath, providerPath } from "../way-back.js";
import "./register-form.js";
import "./sign-in-form.js";
import { View } from "./view.js";

/** Every way to sign in, and to an account; `?next=` is where the person goes then. */
class SignInPage extends View {
  static watches = ["route", "session"];
  #as = null;

  /** Whoever is signed in, here or in another tab, has nothing left to do on this page. */
  paint(state) {
    const {
      route,
      session: { status },
    } = state;
    if (route.page !== "signIn") return;
    if (status === "in") queueMicrotask(() => router.replace(localPath(route.query.next)));
    else super.paint(state);
    this.#lead(route.query.as ?? "");
  }

  /** Who changes from one form to the other goes on in its first field. */
  #lead(as) {
    if (this.#as !== null && this.#as !== as) this.querySelector("form input")?.focus();
    this.#as = as;
  }

  template({ route: { query }, session: { status } }) {
    const isNew = query.as === "new";
    return h(
      "section",
      { class: "page entrance" },
      h("h1", {}, isNew ? "Create an account" : "Sign in"),
      h(
        "p",
        { class: "lead" },
        isNew ? "For your bookings and tickets." : "We bring you right back.",
      ),
      status === "unknown"
        ? h("p", { class: "empty", "aria-busy": "true" }, "One moment…")
        : ways(isNew, localPath(query.next)),
    );
  }
}

function ways(isNew, next) {
  const here = (as) => `/sign-in?${new URLSearchParams({ ...(as && { as }), next })}`;
  return h(
    "div",
    { class: "sheet" },
    h(
      "a",
      {
        class: "button provider",
        href: providerPath(next),
        onclick: () => keep("way-back", next),
      },
      icon("key"),
      "Continue with Google",
    ),
    h("p", { class: "or" }, h("span", {}, "or with a password")),
    h(isNew ? "register-form" : "sign-in-form"),
    h(
      "p",
      { class: "other-way" },
      isNew ? "You have an account? " : "New here? ",
      h("a", { href: here(isNew ? "" : "new") }, isNew ? "Sign in" : "Create an account"),
    ),
  );
}

customElements.define("sign-in-page", SignInPage);
