import { money } from "../money.js";
import { poster } from "../poster.js";
import { clock, day, zoneNote } from "../times.js";
import { h } from "../view.js";

const STATUS = {
  pending: "Waiting for payment",
  paying: "Payment on its way",
  confirmed: "Confirmed",
  cancelled: "Cancelled",
  expired: "Lapsed",
};
const REFUND = { due: "Refund on its way", done: "Refunded" };

/**
 * One booking of mine. `isAsking`: cancelling waits for a yes; `note`: what was refused; `ask`,
 * `keep` and `cancel` are what its buttons do.
 */
export function bookingCard(booking, { note, ...todo }) {
  const { id, status, refund, seats, amount, showtime } = booking;
  return h(
    "li",
    { class: "booking", "data-key": id, "data-booking": id, "data-status": status },
    poster(showtime.movie, "thumb"),
    h(
      "div",
      {},
      occasion(showtime),
      h(
        "p",
        { class: "seat-list" },
        seats.map((seat) => h("b", {}, seat)),
      ),
    ),
    h(
      "div",
      { class: "booking-side" },
      h("p", { class: "tag", "data-status": status }, STATUS[status]),
      h("p", { class: "amount" }, money(amount)),
      REFUND[refund] && h("p", { class: "quiet" }, REFUND[refund]),
      todo.isAsking ? question(status, todo) : actions(booking, todo),
    ),
    note && h("p", { class: "note", role: "alert" }, note),
  );
}

function occasion({ movie, cinema, auditorium, starts_at }) {
  const note = zoneNote(starts_at, cinema);
  const when = `${day(starts_at, cinema.time_zone)}, ${clock(starts_at, cinema.time_zone)}`;
  return [
    h("h2", {}, movie.title),
    h("p", { class: "facts" }, h("b", {}, when), note && h("span", { class: "zone" }, note)),
    h("p", { class: "facts" }, `${cinema.name}, ${cinema.city} · ${auditorium.name}`),
  ];
}

function actions({ status, showtime_id, showtime }, { ask }) {
  const isOpen = status === "pending" || status === "paying";
  const isToCome = Date.parse(showtime.starts_at) > Date.now();
  return [
    isOpen && h("a", { class: "button small primary", href: `/showtimes/${showtime_id}` }, "Go on"),
    (status === "pending" || (status === "confirmed" && isToCome)) &&
      h("button", { class: "button small plain", "data-action": "cancel", onclick: ask }, "Cancel"),
  ];
}

function question(status, { cancel, keep }) {
  const words =
    status === "confirmed" ? "Give the seats back for a refund?" : "Give the seats back?";
  const yes = { class: "button small danger", "data-action": "confirm-cancel", onclick: cancel };
  return [
    h("p", {}, words),
    h("button", yes, "Yes, cancel"),
    h("button", { class: "button small plain", "data-action": "keep", onclick: keep }, "Keep"),
  ];
}
