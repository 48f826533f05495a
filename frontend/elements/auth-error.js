import { router } from "../app.js";
import { icon } from "../icons.js";
import { kept } from "../memory.js";
import { h } from "../view.js";
import { providerPath, signInPath } from "../way-back.js";
import { signInRefusal } from "../wording.js";

const NO_WAY_IN = ["account_blocked"]; // trying again would not help

/** What became of a sign-in or a link that failed, and a way on; for a page that watches `route`
 * and `session`. */
export function authError({ route: { page, query }, session }) {
  const { auth_error: code, ...rest } = query;
  if (!code) return null;
  return h(
    "div",
    { class: "banner with-ways", role: "alert", id: "auth-error", "data-code": code },
    h("p", {}, signInRefusal(code)),
    h(
      "div",
      { class: "actions" },
      session.status === "out" && !NO_WAY_IN.includes(code) && waysIn(page),
      page !== "showtimes" && h("a", { class: "button plain", href: "/" }, "See what’s on"),
    ),
    h(
      "button",
      { class: "plain dismiss", "aria-label": "Dismiss", onclick: () => router.refine(rest) },
      icon("close"),
    ),
  );
}

/** The same way once more, to where the person was going, and all the others. */
function waysIn(page) {
  const next = page === "showtimes" ? kept("way-back") : location.pathname;
  return [
    h("a", { class: "button", href: providerPath(next) }, "Sign in again"),
    h("a", { class: "button plain", href: signInPath() }, "Another way in"),
  ];
}
