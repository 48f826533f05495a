import { catalogue, router } from "../app.js";
import { sift } from "../catalogue.js";
import { frieze } from "../frieze.js";
import { longDay } from "../times.js";
import { h } from "../view.js";
import { authError } from "./auth-error.js";
import { film } from "./film.js";
import { showtimeFilters } from "./showtime-filters.js";
import { View } from "./view.js";

const LEAD = "Pick a film, step into its hall, and watch the seats fill while you choose yours.";

/** What is on: films by city, day and film, each showtime a step into its hall. */
class ShowtimesPage extends View {
  static watches = ["catalogue", "route", "session"];

  start() {
    catalogue.load();
  }

  template(state) {
    const {
      catalogue: { status, ...all },
      route: { query },
    } = state;
    return h(
      "section",
      { class: "page" },
      authError(state),
      h(
        "header",
        { class: "page-head welcome" },
        h("h1", {}, "What’s on"),
        h("p", { class: "lead" }, LEAD),
        frieze(),
      ),
      status === "loading" &&
        h("p", { class: "empty", "aria-busy": "true" }, "Looking up the programme…"),
      status === "failed" && failed(),
      status === "ready" && programme(all, query),
    );
  }
}

function failed() {
  return h(
    "div",
    { class: "empty", role: "alert" },
    h("p", {}, "The programme could not be read just now."),
    h("button", { class: "button", onclick: () => catalogue.load() }, "Try again"),
  );
}

function programme(all, { city = "", date = "", movie = "" }) {
  const chosen = { city, date, movie };
  const choose = (change) => router.refine({ ...chosen, ...change });
  const { days, date: day, films } = sift(all, chosen);
  return [
    showtimeFilters(all, { ...chosen, date: day }, days, choose),
    h(
      "h2",
      { class: "unseen", "aria-live": "polite" },
      day ? longDay(`${day}T12:00:00Z`, "UTC") : "",
    ),
    films.length
      ? h("div", { class: "films" }, films.map(film))
      : h(
          "p",
          { class: "empty" },
          "Nothing is on for this choice. Another day or city may have more.",
        ),
  ];
}

customElements.define("showtimes-page", ShowtimesPage);
