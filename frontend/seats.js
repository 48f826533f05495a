/** Seats as the page sees them: where they stand, what they are called, what they show. */

export const AVAILABLE = "available";
export const MINE = "mine";
export const CHOSEN = "chosen"; // at the counter, for a customer
export const LOCKED = "locked";
export const BOOKED = "booked";
export const BLOCKED = "blocked";

const SHOWN = Object.freeze({ ".": AVAILABLE, l: LOCKED, b: BOOKED, x: BLOCKED });

/**
 * Returns {seats, index, width, categories} of a layout: seats in layout order as
 * {id, row, number, name, x, y, place, category, accessible}, where `y` is the row's place from the
 * screen and `place` the seat's place in its row; `index` maps a seat id to its place in `seats`.
 */
export function survey({ rows }) {
  const left = Math.min(...rows.flatMap((row) => row.seats.map(({ x }) => x)));
  const seats = rows.flatMap((row, y) =>
    row.seats.map((seat, place) => {
      const number = seat.id.startsWith(row.label) ? seat.id.slice(row.label.length) : seat.id;
      const name = `row ${row.label} seat ${number}`;
      return { ...seat, row: row.label, number, name, x: seat.x - left, y, place };
    }),
  );
  return {
    seats,
    index: new Map(seats.map((seat, i) => [seat.id, i])),
    width: Math.max(...seats.map((seat) => seat.x)) + 1,
    categories: [...new Set(seats.map((seat) => seat.category))],
  };
}

/**
 * What each seat shows, in layout order: {state, mine, waiting}. What I have just asked for comes
 * first (`waiting`: no answer yet), then what the server told me is mine, then the live map.
 */
export function shown({ hall, map, lock, pending, checkout, owned, counter }) {
  const held = new Set([...(lock?.seats ?? []), ...heldBy(checkout)]);
  const chosen = new Set(counter?.seats);
  return hall.seats.map(({ id }, i) => {
    const asked = pending.get(id);
    if (asked) return { state: asked.shows, mine: asked.shows === MINE, waiting: asked.waiting };
    if (held.has(id)) return { state: MINE, mine: true, waiting: false };
    if (owned.has(id)) return { state: BOOKED, mine: true, waiting: false };
    const state = SHOWN[map.states[i]] ?? BLOCKED;
    if (chosen.has(id) && state === AVAILABLE)
      return { state: CHOSEN, mine: false, waiting: false };
    return { state, mine: false, waiting: false };
  });
}

/** The seats that a booking holds without having paid for them. */
function heldBy(checkout) {
  const { status, seats } = checkout?.booking ?? {};
  return status === "pending" || status === "paying" ? seats : [];
}

/** How many seats show each state; those that I have paid for count as mine. */
export function tally(views) {
  const counts = { [AVAILABLE]: 0, [MINE]: 0, [CHOSEN]: 0, [LOCKED]: 0, [BOOKED]: 0, [BLOCKED]: 0 };
  for (const { state, mine } of views) counts[mine ? MINE : state] += 1;
  return counts;
}

/** "A1, A2 and B7" */
export function list(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}
