import { checkout as till } from "../app.js";
import { icon } from "../icons.js";
import { money } from "../money.js";
import { clock, longDay } from "../times.js";
import { h } from "../view.js";
import "./ticket-code.js";

/** The happy end: a ticket. */
export function bookedPanel({ hall: { showtime }, checkout: { booking } }) {
  const { movie, cinema, auditorium, starts_at } = showtime;
  const when = `${longDay(starts_at, cinema.time_zone)}, ${clock(starts_at, cinema.time_zone)}`;
  return [
    h(
      "div",
      { class: "ticket", id: "ticket", role: "status" },
      h("p", { class: "ticket-top" }, icon("check"), "Booked. Enjoy the film!"),
      h("h2", {}, movie.title),
      h("p", {}, when),
      h("p", { class: "quiet" }, `${cinema.name}, ${cinema.city} · ${auditorium.name}`),
      h(
        "p",
        { class: "ticket-seats" },
        booking.seats.map((seat) => h("b", {}, seat)),
      ),
      h("p", { class: "ticket-foot" }, h("span", {}, "Paid"), h("b", {}, money(booking.amount))),
      h("ticket-code", { "data-key": booking.id, "data-booking": booking.id }),
    ),
    h(
      "div",
      { class: "actions" },
      h("a", { class: "button primary", href: "/bookings" }, "My bookings"),
      h("button", { class: "button plain", onclick: () => till.dismiss() }, "Choose more seats"),
    ),
  ];
}
