import { account, toasts } from "../app.js";
import { forget, kept } from "../memory.js";
import { ROLES } from "../roles.js";
import { h } from "../view.js";
import { signInPath } from "../way-back.js";
import { authError } from "./auth-error.js";
import "./devices.js";
import { failedList } from "./ledger.js";
import "./password-form.js";
import { View } from "./view.js";
import "./ways-in.js";

/** Who I am here, how I can sign in, where I am signed in, and what became of a link. */
class AccountPage extends View {
  static watches = ["route", "session", "account"];
  #reader = null;

  paint(state) {
    const { session, account: mine, route } = state;
    if (session.status === "in" && session.user.id !== this.#reader) {
      this.#reader = session.user.id;
      account.load();
    }
    if (session.status === "out" && this.#reader) {
      this.#reader = null;
      account.forget();
    }
    super.paint(state);
    if (mine.status === "ready") welcomeBack(mine, route);
  }

  template(state) {
    const { status, user } = state.session;
    const mine = state.account;
    return h(
      "section",
      { class: "page narrow account" },
      authError(state),
      h("header", { class: "page-head" }, h("h1", {}, "My account")),
      status === "out" && signedOut(),
      status === "in" && who(user, mine.ways),
      status === "in" && mine.status === "idle" && reading(),
      mine.status === "failed" && failedList(mine.problem, () => account.load()),
      mine.status === "ready" && [
        h("ways-in"),
        mine.ways.has_password && h("password-form"),
        h("device-list"),
      ],
    );
  }
}

/** Back from the provider after a link that worked. */
function welcomeBack({ ways }, { query }) {
  if (!kept("linking")) return;
  forget("linking");
  if (ways.google_linked && !query.auth_error) {
    toasts.say("Google is linked. From now on either way leads in.", "good");
  }
}

function who({ name, email, role }, ways) {
  return h(
    "section",
    { class: "sheet", "aria-label": "Who I am" },
    h(
      "dl",
      { class: "facts-list" },
      fact("Name", name),
      fact("Mail address", email, ways && verified(ways)),
      role !== "USER" &&
        fact("Here as", ROLES[role].name, h("span", { class: "quiet" }, `may ${ROLES[role].may}`)),
    ),
  );
}

function fact(name, value, ...more) {
  return h("div", {}, h("dt", {}, name), h("dd", {}, h("span", {}, value), more));
}

function verified({ email_verified: isVerified }) {
  const words = isVerified ? "Verified" : "Not verified yet";
  return h("span", { class: "tag", "data-outcome": isVerified ? "ok" : "open" }, words);
}

function reading() {
  return h("p", { class: "empty", "aria-busy": "true" }, "Reading…");
}

function signedOut() {
  return h(
    "div",
    { class: "empty" },
    h("p", {}, "Sign in to see your account."),
    h("a", { class: "button primary", href: signInPath() }, "Sign in"),
  );
}

customElements.define("account-page", AccountPage);
