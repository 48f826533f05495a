import { money } from "../money.js";
import { ago, clock, day, stamp } from "../times.js";
import { h } from "../view.js";
import { STATUS } from "./booking-card.js";

/** One booking of anybody's as a row of a table; on narrow screens its cells name themselves. */
export function bookingRow(booking) {
  const { id, created_at: made, showtime, user, seats, amount, status } = booking;
  return h(
    "tr",
    { "data-key": id, "data-booking": id },
    cell("Booked", h("time", { datetime: made, title: stamp(made) }, ago(made))),
    cell("Showtime", occasion(showtime)),
    cell(
      "Customer",
      h("b", {}, user.name ?? "Nobody any more"),
      h("span", { class: "mail" }, user.email ?? user.id),
    ),
    cell("Seats", h("span", { class: "seat-names" }, seats.join(", "))),
    cell("Amount", money(amount)),
    cell("Status", h("span", { class: "tag", "data-status": status }, STATUS[status])),
  );
}

function cell(name, ...content) {
  return h("td", { "data-name": name }, h("div", {}, content));
}

function occasion(showtime) {
  if (!showtime) return h("span", { class: "quiet" }, "no longer on the programme");
  const { movie, cinema, starts_at } = showtime;
  const zone = cinema.time_zone;
  return [
    h("b", {}, movie.title),
    h(
      "span",
      { class: "quiet" },
      `${cinema.name}, ${day(starts_at, zone)}, ${clock(starts_at, zone)}`,
    ),
  ];
}
