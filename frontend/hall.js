import { Live } from "./live.js";
import { APPLIED, receive } from "./live-rule.js";
import { shown, survey } from "./seats.js";

const SETTLED = 6_000;
const IDLE = Object.freeze({ status: "idle", reason: "" });
const EMPTY = Object.freeze({
  map: null,
  views: [],
  lock: null,
  pending: new Map(),
  checkout: null,
  owned: new Set(),
  lapse: null,
  pause: null,
  counter: null,
  offer: null,
  connection: IDLE,
});

/**
 * The showtime that is on the page: its drawing, its live map, and what each seat shows.
 *
 * Tells the store "seat-events" (a list of events) after each change of the map, "new-epoch" when
 * the seat store has started over, and "reconnected" when a cut connection is live again.
 */
export class Hall {
  #store;
  #api;
  #live = null;

  constructor(store, api) {
    this.#store = store;
    this.#api = api;
    store.watch(["hall", "map", "lock", "pending", "checkout", "owned", "counter"], () =>
      this.#show(),
    );
  }

  async open(id) {
    this.close();
    const hall = { id, status: "loading" };
    this.#store.set({ ...EMPTY, hall });
    const ready = await this.#load(id).catch(({ status }) => ({
      hall: { id, status: status === 404 ? "missing" : "failed" },
    }));
    if (this.#store.state.hall !== hall) return; // the person has moved on
    this.#store.set(ready);
    if (ready.map) this.#watch(id);
  }

  close() {
    this.#live?.stop();
    this.#live = null;
    this.#store.set({ ...EMPTY, hall: null });
  }

  async #load(id) {
    const [{ showtime }, { layout, prices, epoch, seq, states }] = await Promise.all([
      this.#api.get(`/showtimes/${id}`),
      this.#api.get(`/showtimes/${id}/seat-map`),
    ]);
    return {
      map: { epoch, seq, states },
      hall: { id, status: "ready", showtime, prices, ...survey(layout) },
    };
  }

  #watch(id) {
    this.#live = new Live(`/api/showtimes/${id}/live`, {
      position: () => this.#store.state.map,
      receive: (frame, first, bare) => this.#receive(frame, first, bare),
      report: (status, reason) => this.#report(status, reason),
    });
    this.#live.start();
  }

  #receive(frame, first, bare) {
    const { hall, map: before } = this.#store.state;
    const { verdict, map } = receive(bare ? null : before, frame, hall.index, first);
    if (verdict !== APPLIED) return verdict;
    this.#store.set({ map });
    if (frame.type === "events") this.#hear(frame.events);
    else if (map.epoch !== before.epoch) this.#store.tell("new-epoch");
    return verdict;
  }

  #hear(events) {
    this.#store.tell("seat-events", events);
    if (events.some(({ type }) => type === "seat.blocked")) this.#askWhy(this.#store.state.hall.id);
  }

  /** Seats were taken off sale: perhaps the showtime is. A server may be SETTLED ms behind. */
  async #askWhy(id, isLast = false) {
    const answer = await this.#api.get(`/showtimes/${id}`).catch(() => null);
    const { hall } = this.#store.state;
    if (hall?.id !== id || hall.status !== "ready") return;
    if (answer) this.#store.set({ hall: { ...hall, showtime: answer.showtime } });
    if (answer?.showtime.status === "open" && !isLast) {
      setTimeout(() => this.#askWhy(id, true), SETTLED);
    }
  }

  #report(status, reason = "") {
    const before = this.#store.state.connection.status;
    this.#store.set({ connection: { status, reason } });
    const wasCut = before === "reconnecting" || before === "offline";
    if (status === "live" && wasCut) this.#store.tell("reconnected");
  }

  #show() {
    const { state } = this.#store;
    if (state.hall?.status === "ready" && state.map) this.#store.set({ views: shown(state) });
  }
}
