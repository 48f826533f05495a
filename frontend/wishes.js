const SETTLE = 2_000; // ms that the live map may take to follow an answer

/**
 * What I have asked for and what seats show because of it, in the store as `pending`: seat ->
 * {shows, waiting}. `waiting` until the answer is there; after it a wish may stand a moment longer,
 * until the live map has heard of it too.
 */
export class Wishes {
  #store;

  constructor(store) {
    this.#store = store;
    store.addEventListener("seat-events", ({ detail }) => this.#follow(detail));
  }

  ask(seats, shows, waiting = true) {
    const asked = seats.map((seat) => [seat, { shows, waiting }]);
    this.#store.set({ pending: new Map([...this.#pending, ...asked]) });
  }

  drop(seats) {
    const gone = new Set(seats);
    const left = [...this.#pending].filter(([seat]) => !gone.has(seat));
    if (left.length < this.#pending.size) this.#store.set({ pending: new Map(left) });
  }

  /** Granted: the seats keep showing it until the live map does. */
  settle(seats, shows) {
    this.ask(seats, shows, false);
    setTimeout(() => this.#dropSettled(seats), SETTLE);
  }

  /** The live map has spoken about these seats. */
  #follow(events) {
    this.#dropSettled(events.flatMap(({ seats }) => seats));
  }

  #dropSettled(seats) {
    this.drop(seats.filter((seat) => this.#pending.get(seat)?.waiting === false));
  }

  get #pending() {
    return this.#store.state.pending;
  }
}
