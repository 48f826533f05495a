import { checkout as till, lock as seatLock } from "../app.js";
import { money } from "../money.js";
import { h } from "../view.js";

/** The lock panel's content once there is a booking: pay, wait, or what became of it. */

const METHODS = [
  ["demo:approve", "Approve", "The bank says yes at once."],
  ["demo:decline", "Decline", "The bank says no."],
  ["demo:timeout", "Answer lost", "The bank says yes, but its answer never arrives."],
  ["demo:slow", "Slow", "The bank takes its time."],
];
const NOTES = {
  declined:
    "The payment was declined. Nothing was charged. Your seats are still yours: try again while there is time.",
  unanswered: "The payment did not get through. Nothing was charged. You can try again.",
};
const ENDS = {
  expired: "The time to pay ran out, so the seats went back on sale. Nothing was charged.",
  cancelled: "This booking was cancelled.",
};

let chosen = METHODS[0][0];

export function payPanel({ checkout }) {
  const { booking, note } = checkout;
  return h(
    "form",
    { class: "pay", onsubmit: pay },
    h(
      "header",
      { class: "panel-head" },
      h("h2", {}, "Pay ", h("span", { id: "total" }, money(booking.amount))),
      h("count-down", { id: "countdown", props: { time: checkout } }),
    ),
    h(
      "p",
      { class: "quiet" },
      `${booking.seats.length === 1 ? "Seat" : "Seats"} ${booking.seats.join(", ")}`,
    ),
    NOTES[note] && h("p", { class: "note", role: "alert", id: "pay-note" }, NOTES[note]),
    h(
      "fieldset",
      { class: "methods" },
      h("legend", {}, h("span", { class: "tag" }, "Demo"), " No money moves."),
      METHODS.map(method),
    ),
    h(
      "div",
      { class: "actions" },
      h("button", { id: "pay", class: "button primary" }, `Pay ${money(booking.amount)}`),
      h(
        "button",
        {
          id: "cancel-booking",
          class: "button plain",
          type: "button",
          onclick: () => till.cancel(),
        },
        "Cancel and choose again",
      ),
    ),
  );
}

function method([value, name, words]) {
  const onchange = () => (chosen = value);
  return h(
    "label",
    { class: "method" },
    h("input", {
      type: "radio",
      name: "payment_method",
      value,
      checked: value === chosen,
      onchange,
    }),
    h("b", {}, name),
    h("span", { class: "quiet" }, words),
  );
}

function pay(event) {
  event.preventDefault();
  till.pay(chosen);
}

export function bookingPanel() {
  return waiting(h("p", {}, "Booking your seats…"));
}

/** A payment is on its way; when its outcome stays open, nobody has to sit and wait. */
export function payingPanel({ checkout: { booking } }) {
  if (booking.status !== "paying") return waiting(h("p", {}, "Talking to the bank…"));
  return waiting(
    h(
      "p",
      {},
      "We do not know yet how the payment ended, and keep asking. Your seats stay yours until we do.",
    ),
    h(
      "p",
      { class: "quiet" },
      "You may leave this page: ",
      h("a", { href: "/bookings" }, "My bookings"),
      " will tell.",
    ),
  );
}

function waiting(...words) {
  const oar = h("span", { class: "oar", "aria-hidden": "true" });
  return h("div", { class: "waiting", role: "status", "aria-busy": "true" }, oar, words);
}

export function endedPanel({ checkout: { booking } }) {
  const again = () => seatLock.lock(booking.seats);
  return h(
    "div",
    { class: "lapse", role: "alert", id: "ended", "data-why": booking.status },
    h("h2", {}, booking.status === "expired" ? "Time is up" : "Cancelled"),
    h("p", {}, ENDS[booking.status]),
    h(
      "div",
      { class: "actions" },
      h(
        "button",
        { id: "relock", class: "button primary", onclick: again },
        "Lock the same seats again",
      ),
      h("button", { class: "button plain", onclick: () => till.dismiss() }, "Never mind"),
    ),
  );
}
