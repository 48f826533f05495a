import { money } from "./money.js";
import { AVAILABLE, BLOCKED, BOOKED, CHOSEN, LOCKED, MINE } from "./seats.js";
import { capital } from "./wording.js";

const STATE = {
  [AVAILABLE]: "available",
  [MINE]: "yours",
  [CHOSEN]: "chosen for a customer",
  [LOCKED]: "locked by somebody else",
  [BOOKED]: "sold",
  [BLOCKED]: "not for sale",
};

/** What a seat shows, in one word or a few. */
export function stateWords({ state, mine, waiting }) {
  if (waiting) return state === MINE ? "being locked for you" : "being released";
  return state === BOOKED && mine ? "yours, paid" : STATE[state];
}

/** "Row C seat 4, premium, €14.00, available" */
export function seatLabel(seat, view, prices) {
  const parts = [
    capital(seat.name),
    seat.category,
    seat.accessible && "wheelchair space",
    money(prices[seat.category]),
    stateWords(view),
  ];
  return parts.filter(Boolean).join(", ");
}
