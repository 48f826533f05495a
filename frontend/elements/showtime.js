import { hall as house, store } from "../app.js";
import { poster } from "../poster.js";
import { clock, day, zoneNote } from "../times.js";
import { h } from "../view.js";
import { icon } from "../icons.js";
import { View } from "./view.js";
import "./lock-panel.js";
import "./seat-legend.js";
import "./seat-map.js";

const LIGHT = {
  idle: "",
  connecting: "Connecting",
  live: "Live",
  reconnecting: "Reconnecting",
  offline: "Offline",
  stopped: "Not live",
};
const CLOSED = {
  closed: "Sales for this showtime have ended. You can still look at the hall.",
  cancelled: "This showtime has been cancelled.",
};
const STOPPED = {
  refused: "The live map was refused to this page. Seats change only when you reload.",
  missing: "This showtime is no longer on the programme.",
};

/** One showtime: what it is, its hall, its seats as they change, and what is mine. */
class ShowtimePage extends View {
  static watches = ["hall", "connection"];

  start() {
    house.open(store.state.route.id);
  }

  end() {
    if (store.state.route.page !== "showtime") house.close();
  }

  template({ hall, connection }) {
    if (hall?.status === "missing") return trouble("This showtime is not on the programme.");
    if (hall?.status === "failed") return trouble("The hall could not be reached just now.", true);
    if (hall?.status !== "ready")
      return h("p", { class: "page empty", "aria-busy": "true" }, "Opening the hall…");
    document.title = `${hall.showtime.movie.title} · Rowlock`;
    return h(
      "section",
      { class: "showtime" },
      h(
        "div",
        { class: "stage" },
        head(hall.showtime, connection),
        warning(hall.showtime, connection),
        h("seat-legend"),
        h("seat-map"),
      ),
      h("lock-panel"),
    );
  }
}

function warning({ status }, connection) {
  const words = CLOSED[status] ?? STOPPED[connection.reason];
  return words && h("p", { class: "banner", role: "alert" }, words);
}

function head({ movie, cinema, auditorium, starts_at }, { status }) {
  const note = zoneNote(starts_at, cinema);
  return h(
    "header",
    { class: "showtime-head" },
    h("a", { class: "back", href: "/", "aria-label": "Back to all showtimes" }, icon("back")),
    poster(movie, "thumb"),
    h(
      "div",
      {},
      h("h1", {}, movie.title),
      h(
        "p",
        { class: "facts" },
        h("b", {}, `${day(starts_at, cinema.time_zone)}, ${clock(starts_at, cinema.time_zone)}`),
        note && h("span", { class: "zone" }, note),
      ),
      h("p", { class: "facts" }, `${cinema.name}, ${cinema.city} · ${auditorium.name}`),
    ),
    h(
      "p",
      { class: "light", id: "connection", "data-status": status, role: "status" },
      LIGHT[status],
    ),
  );
}

function trouble(words, again = false) {
  return h(
    "section",
    { class: "page empty", role: "alert" },
    h("h1", {}, words),
    again &&
      h(
        "button",
        { class: "button primary", onclick: () => house.open(store.state.route.id) },
        "Try again",
      ),
    h("p", {}, h("a", { href: "/" }, "See what’s on")),
  );
}

customElements.define("showtime-page", ShowtimePage);
