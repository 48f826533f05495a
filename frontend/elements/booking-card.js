import { money, total } from "../money.js";
import { poster } from "../poster.js";
import { clock, day, zoneNote } from "../times.js";
import { h } from "../view.js";
import "./ticket-code.js";

export const STATUS = {
  pending: "Waiting for payment",
  paying: "Payment on its way",
  confirmed: "Confirmed",
  cancelled: "Cancelled",
  expired: "Lapsed",
};
const REFUND = { due: "refund on its way", done: "refunded" };

/**
 * One booking of mine. `chosen`: the seats that wait for a yes to be given back, null when none are
 * asked about; `isShown`: its ticket is; `note`: what was refused; `ask`, `choose`, `keep`, `cancel`
 * and `show` are what it can do.
 */
export function bookingCard(booking, { note, ...todo }) {
  const { id, status, seats, amount, showtime } = booking;
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
      booking.refunds.map((refund) => givenBack(booking, refund)),
    ),
    h(
      "div",
      { class: "booking-side" },
      h("p", { class: "tag", "data-status": status }, STATUS[status]),
      h("p", { class: "amount" }, money(amount)),
      !todo.chosen && actions(booking, todo),
    ),
    todo.chosen && question(booking, todo),
    todo.isShown &&
      h(
        "div",
        { class: "shown-ticket", "data-key": `ticket-${id}` },
        h("ticket-code", { "data-booking": id }),
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

function givenBack({ seats, cancelled_seats }, refund) {
  const isPart = cancelled_seats.length > 0 && !same(refund.seats, seats);
  const what = isPart ? `${refund.seats.join(", ")} given back, ` : "";
  const words = `${what}${money(refund.amount)} ${REFUND[refund.status]}`;
  return h("p", { class: "facts given-back", "data-refund": refund.status }, words);
}

function same(some, others) {
  return some.length === others.length && some.every((seat) => others.includes(seat));
}

function actions(booking, { ask, show, isShown }) {
  const { status, showtime_id } = booking;
  const isOpen = status === "pending" || status === "paying";
  const isRefundable = status === "confirmed" && Date.parse(booking.refundable_until) > Date.now();
  return [
    isOpen && h("a", { class: "button small primary", href: `/showtimes/${showtime_id}` }, "Go on"),
    status === "confirmed" &&
      h(
        "button",
        {
          class: "button small",
          "data-action": "ticket",
          "aria-expanded": String(isShown),
          onclick: show,
        },
        isShown ? "Hide ticket" : "Ticket",
      ),
    (status === "pending" || isRefundable) &&
      h("button", { class: "button small plain", "data-action": "cancel", onclick: ask }, "Cancel"),
  ];
}

/** Which seats go back, and what for; an unpaid booking goes whole. */
function question(booking, { chosen, choose, cancel, keep }) {
  const isPaid = booking.status === "confirmed";
  const yes = {
    class: "button small danger",
    "data-action": "confirm-cancel",
    disabled: !chosen.length,
    onclick: cancel,
  };
  return h(
    "div",
    { class: "give-back", role: "group", "aria-label": "Give seats back" },
    isPaid && booking.seats.length > 1 && seatChoice(booking, chosen, choose),
    h("p", {}, isPaid ? sum(booking, chosen) : "Give the seats back?"),
    h("button", yes, "Yes, cancel"),
    h("button", { class: "button small plain", "data-action": "keep", onclick: keep }, "Keep"),
  );
}

function seatChoice({ seats }, chosen, choose) {
  return h(
    "fieldset",
    { class: "seat-choice" },
    h("legend", {}, "Which seats do you give back?"),
    seats.map((seat) =>
      h(
        "label",
        { "data-key": seat },
        h("input", {
          type: "checkbox",
          "data-give-back": seat,
          props: { checked: chosen.includes(seat) },
          onchange: () => choose(seat),
        }),
        seat,
      ),
    ),
  );
}

function sum({ prices }, chosen) {
  if (!chosen.length) return "Choose at least one seat.";
  return `You get ${money(total(chosen.map((seat) => prices[seat])))} back.`;
}
