import { Deadline, timed } from "./deadline.js";
import { forget, keep, kept } from "./memory.js";

const GRACE = 400; // ms after our deadline until we ask; the server's lies a little later
const AGAIN = 3_000; // ms until a reading that got no answer is repeated
const OPEN = ["pending", "paying"];
const MEANT = ["elsewhere", "released", "cancelled"]; // I did it myself, in another window
const PHASE = Object.freeze({
  pending: "ready",
  paying: "paying",
  confirmed: "confirmed",
  expired: "ended",
  cancelled: "ended",
});

/**
 * What is mine in this hall: my lock, my open booking (`checkout`) and my paid seats (`owned`).
 * Reads them from the server, minds their deadlines, and notices when something was lost.
 */
export class Holding {
  #store;
  #api;
  #deadline;
  #queue = Promise.resolve();
  #next = null;

  constructor(store, api, toasts, tabs) {
    this.#store = store;
    this.#api = api;
    this.#deadline = new Deadline({
      warn: () => toasts.say("One minute left on your seats.", "bad"),
      end: () => setTimeout(() => this.reload("expired"), GRACE),
    });
    store.watch(["session", "hall"], () => this.reload("away"));
    store.addEventListener("new-epoch", () => this.reload("epoch"));
    store.addEventListener("reconnected", () => this.reload("away"));
    store.addEventListener("seat-events", ({ detail }) => this.#hear(detail));
    document.addEventListener("visibilitychange", () => document.hidden || this.reload("away"));
    tabs.hear("seats-changed", (showtime) => {
      if (showtime === store.state.hall?.id) this.reload("elsewhere");
    });
  }

  /** Runs what asks or changes what is mine one after another: answers cannot overtake each other. */
  inOrder(work) {
    const done = this.#queue.then(work);
    this.#queue = done.catch(() => {});
    return done;
  }

  /** Reads everything again; `why` explains a loss, should there be one. Never rejects. */
  reload(why) {
    this.#next ??= this.inOrder(() => {
      this.#next = null;
      return this.#read(why);
    }).catch(({ passes }) => {
      if (passes) setTimeout(() => this.reload(why), AGAIN);
    });
    return this.#next;
  }

  /** Takes a lock (or null) as the server gave it; `asked` is when it was asked for. */
  take(lock, asked) {
    const { lock: known, hall, session, lapse } = this.#store.state;
    const span = known?.id === lock?.id ? known?.span : 0;
    this.#store.set({
      lock: lock && { ...lock, ...timed(lock, asked, span) },
      lapse: lock ? null : lapse,
    });
    if (lock) keep("lock", { showtime: hall.id, user: session.user.id, seats: lock.seats });
    else forget("lock");
    this.#mind();
  }

  /** Takes a booking of this hall; its seats leave the lock. `note` says what led here. */
  carry(booking, asked, note = "") {
    const { checkout, lock, owned } = this.#store.state;
    const span = checkout?.booking?.id === booking.id ? checkout.span : (lock?.span ?? 0);
    const phase = PHASE[booking.status];
    const isMoved = lock?.seats.every((seat) => booking.seats.includes(seat));
    if (isMoved) forget("lock");
    this.#store.set({
      lock: isMoved ? null : lock,
      checkout: { phase, booking, note, ...timed(booking, asked, span) },
      owned: phase === "confirmed" ? new Set([...owned, ...booking.seats]) : owned,
    });
    this.#mind();
  }

  async #read(why) {
    const { hall, session } = this.#store.state;
    if (session.status === "out") this.#store.set({ lock: null, checkout: null, owned: new Set() });
    if (hall?.status !== "ready" || session.status !== "in") return this.#mind();
    const asked = performance.now();
    const [{ lock }, { items }] = await Promise.all([
      this.#api.get(`/showtimes/${hall.id}/seats/lock`),
      this.#api.get("/bookings?limit=100"),
    ]);
    if (this.#store.state.hall === hall && this.#store.state.session === session) {
      this.#compare(lock, items, asked, why);
    }
  }

  #compare(lock, bookings, asked, why) {
    const { hall, lock: held, checkout } = this.#store.state;
    const before = held ?? this.#recall();
    const here = bookings.filter((booking) => booking.showtime_id === hall.id);
    const open = here.filter(({ status }) => OPEN.includes(status));
    const paid = here.filter(({ status }) => status === "confirmed");
    const current = here.find(({ id }) => id === checkout?.booking?.id) ?? open[0];
    this.#store.set({ owned: new Set(paid.flatMap(({ seats }) => seats)) });
    if (current) this.carry(current, asked, checkout?.note);
    this.take(lock, asked);
    const kept = new Set([lock, ...open, ...paid].flatMap((holder) => holder?.seats ?? []));
    const lost = (before?.seats ?? []).filter((seat) => !kept.has(seat));
    const reason = before?.deadline <= asked ? "expired" : why;
    if (lost.length && !MEANT.includes(reason))
      this.#store.set({ lapse: { why: reason, seats: lost } });
  }

  /** The seats that this tab held before it was reloaded. */
  #recall() {
    const { hall, session } = this.#store.state;
    const before = kept("lock");
    return before?.showtime === hall.id && before.user === session.user.id ? before : null;
  }

  /** Seats of mine were released or sold, and not by a click in this tab: ask what is left. */
  #hear(events) {
    const { lock, checkout, pending } = this.#store.state;
    const mine = new Set([...(lock?.seats ?? []), ...(checkout?.booking?.seats ?? [])]);
    const hit = events.find(
      ({ type, seats }) =>
        type !== "seat.locked" && seats.some((seat) => mine.has(seat) && !pending.has(seat)),
    );
    if (hit) this.reload(hit.reason ?? "booked");
  }

  #mind() {
    const { lock, checkout } = this.#store.state;
    const next = checkout?.phase === "ready" ? checkout : lock;
    if (next) this.#deadline.set(next.deadline);
    else this.#deadline.clear();
  }
}
