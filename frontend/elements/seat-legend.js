import { money } from "../money.js";
import { AVAILABLE, BLOCKED, BOOKED, CHOSEN, LOCKED, MINE, tally } from "../seats.js";
import { h } from "../view.js";
import { capital } from "../wording.js";
import { View } from "./view.js";

const NAMES = {
  [AVAILABLE]: "Available",
  [MINE]: "Yours",
  [CHOSEN]: "Chosen",
  [LOCKED]: "Locked by others",
  [BOOKED]: "Sold",
  [BLOCKED]: "Not for sale",
};
const SELDOM = [CHOSEN, BLOCKED]; // named only when there are any

/** What the shapes mean, how many seats there are of each right now, and what a category costs. */
class SeatLegend extends View {
  static watches = ["views", "hall"];

  template({ hall, views }) {
    if (hall?.status !== "ready") return null;
    const counts = tally(views);
    const hasSpaces = hall.seats.some(({ accessible }) => accessible);
    return h(
      "div",
      { class: "legend" },
      h(
        "ul",
        { "aria-label": "Seats right now" },
        Object.entries(NAMES).map(
          ([state, name]) =>
            (counts[state] > 0 || !SELDOM.includes(state)) &&
            h(
              "li",
              { "data-count": state },
              swatch({ "data-state": state }),
              name,
              h("b", {}, String(counts[state])),
            ),
        ),
      ),
      h(
        "ul",
        { "aria-label": "Prices" },
        hall.categories.map((category, tier) =>
          h(
            "li",
            {},
            swatch({ "data-state": AVAILABLE, "data-tier": String(tier) }),
            capital(category),
            h("b", {}, money(hall.prices[category])),
          ),
        ),
        hasSpaces &&
          h(
            "li",
            {},
            swatch({ "data-state": AVAILABLE, "data-accessible": true }),
            "Wheelchair space",
          ),
      ),
    );
  }
}

function swatch(data) {
  return h("span", { class: "seat swatch", "aria-hidden": "true", ...data });
}

customElements.define("seat-legend", SeatLegend);
