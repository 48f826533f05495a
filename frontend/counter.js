import { timed } from "./deadline.js";
import { AVAILABLE, CHOSEN } from "./seats.js";

/**
 * The counter of a hall: seats that a clerk chooses and then locks for a customer. In the store as
 * `counter`: null while the clerk acts for themselves, else {seats, done}, `done` being the lock
 * that was made last, as {customer, seats, deadline, span}.
 */
export class Counter {
  #store;
  #api;

  constructor(store, api) {
    this.#store = store;
    this.#api = api;
  }

  open() {
    this.#store.set({ counter: { seats: [], done: null }, lapse: null });
  }

  close() {
    this.#store.set({ counter: null });
  }

  /** Chooses a seat, or lets it go; returns false for one that cannot be chosen. */
  toggle(id, shows) {
    const { counter } = this.#store.state;
    if (shows !== CHOSEN && shows !== AVAILABLE) return false;
    const rest = counter.seats.filter((seat) => seat !== id);
    const seats = shows === CHOSEN ? rest : [...rest, id];
    this.#store.set({ counter: { seats, done: null } });
    return true;
  }

  /** Locks all that is chosen for `customer`, a mail address or an id; rejects with a Problem. */
  async lock(customer) {
    const { hall, counter } = this.#store.state;
    const { seats } = counter;
    const asked = performance.now();
    const path = `/admin/showtimes/${hall.id}/seats/lock`;
    const { lock } = await this.#api.post(path, { customer, seats });
    if (this.#store.state.hall?.id !== hall.id) return;
    this.#store.set({ counter: { seats: [], done: { customer, seats, ...timed(lock, asked) } } });
  }
}
