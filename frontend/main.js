import { router, session, store } from "./app.js";
import "./elements/account.js";
import "./elements/all-bookings.js";
import "./elements/audit.js";
import "./elements/bookings.js";
import "./elements/header.js";
import "./elements/messages.js";
import "./elements/people.js";
import "./elements/showtime.js";
import "./elements/showtimes.js";
import "./elements/sign-in.js";
import "./elements/sign-in-offer.js";
import { h } from "./view.js";

/** The element that draws each page, and the name of the page in the window's title. */
const PAGES = {
  showtimes: { tag: "showtimes-page", title: "What’s on" },
  showtime: { tag: "showtime-page", title: "Choose your seats" },
  bookings: { tag: "bookings-page", title: "My bookings" },
  signIn: { tag: "sign-in-page", title: "Sign in" },
  account: { tag: "account-page", title: "My account" },
  people: { tag: "people-page", title: "People" },
  allBookings: { tag: "all-bookings-page", title: "All bookings" },
  audit: { tag: "audit-page", title: "Audit log" },
};

const main = document.querySelector("#main");
let shown = null;

store.watch(["route"], () => {
  const { page, id } = store.state.route;
  const address = `${page}/${id}`;
  if (address === shown) return; // the query alone has changed
  const isFirst = shown === null;
  shown = address;
  const { tag, title } = PAGES[page] ?? { title: "Not here" };
  document.title = `${title} · Rowlock`;
  main.replaceChildren(tag ? h(tag) : lost());
  if (!isFirst) main.focus({ preventScroll: true });
});

function lost() {
  return h(
    "section",
    { class: "page empty" },
    h("h1", {}, "There is nothing at this address"),
    h("p", {}, h("a", { href: "/" }, "See what’s on")),
  );
}

session.start();
router.start();
