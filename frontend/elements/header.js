import { router, session, store, toasts } from "../app.js";
import { icon } from "../icons.js";
import { isAdmin, isClerk, ROLES } from "../roles.js";
import { h } from "../view.js";
import { signInPath } from "../way-back.js";
import { refusal } from "../wording.js";
import { View } from "./view.js";

const HOUSE = ["audit", "people", "allBookings"];

/** Where to go, and who I am. */
class SiteHeader extends View {
  static watches = ["route", "session"];

  start(signal) {
    document.addEventListener("click", (event) => this.#closeMenu(event), { signal });
    document.addEventListener(
      "keydown",
      (event) => event.key === "Escape" && this.#closeMenu(event),
      {
        signal,
      },
    );
  }

  template({ route, session: { status, user } }) {
    return h(
      "header",
      { class: "masthead" },
      h("a", { class: "brand", href: "/" }, icon("mark", "brand-mark"), h("span", {}, "Rowlock")),
      h(
        "nav",
        { "aria-label": "Main" },
        link("/", "What’s on", route.page === "showtimes"),
        user && link("/bookings", "My bookings", route.page === "bookings"),
        houseLinks(user, route.page),
      ),
      status === "in" && who(user, route.page),
      status === "out" && route.page !== "signIn" && signIn(),
    );
  }

  #closeMenu(event) {
    const menu = this.querySelector("#who[open]");
    if (!menu) return;
    const inside = menu.contains(event.target);
    if (event.key === "Escape" && inside) menu.querySelector("summary").focus();
    if (event.key === "Escape" || !inside || event.target.closest("a"))
      menu.removeAttribute("open");
  }
}

/** The pages of those who work here, by what they may see. */
function houseLinks(user, page) {
  return [
    isClerk(user) && link("/admin/bookings", "All bookings", page === "allBookings", "house"),
    isAdmin(user) && link("/admin/people", "People", page === "people", "house"),
    isAdmin(user) && link("/admin/audit", "Audit", page === "audit", "house"),
  ];
}

function link(href, words, isHere, kind) {
  return h("a", { href, class: kind, "aria-current": isHere ? "page" : null }, words);
}

/** The link asks for the way back at the moment it is followed, when filters may have changed. */
function signIn() {
  return h(
    "a",
    {
      class: "button small",
      id: "sign-in",
      href: signInPath(),
      onfocus: renew,
      onpointerdown: renew,
    },
    "Sign in",
  );
}

function renew({ currentTarget }) {
  currentTarget.href = signInPath();
}

function who(user, page) {
  return h(
    "details",
    { id: "who" },
    h(
      "summary",
      { "aria-label": `Signed in as ${user.name}` },
      h(
        "span",
        { class: "initial", "aria-hidden": "true" },
        [...user.name][0]?.toUpperCase() ?? "?",
      ),
      h("span", { class: "who-name" }, user.name),
      icon("chevron"),
    ),
    h(
      "div",
      { class: "menu" },
      h("p", {}, h("b", {}, user.name), h("br"), h("span", { class: "quiet" }, user.email)),
      isClerk(user) && h("p", { class: "tag" }, ROLES[user.role].name),
      h(
        "nav",
        { "aria-label": "Mine" },
        link("/account", "My account", page === "account"),
        houseLinks(user, page),
      ),
      h("button", { id: "sign-out", class: "plain", onclick: signOut }, "Sign out"),
    ),
  );
}

async function signOut() {
  try {
    await session.signOut();
    toasts.say("You are signed out. See you soon.");
  } catch (problem) {
    toasts.say(refusal(problem), "bad");
  }
  if (HOUSE.includes(store.state.route.page)) router.go("/");
}

customElements.define("site-header", SiteHeader);
