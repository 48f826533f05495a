import { AVAILABLE, BLOCKED, BOOKED, list, LOCKED, MINE } from "./seats.js";
import { capital, refusal } from "./wording.js";

const LONG = 5; // seconds to wait that are worth a countdown

/**
 * Locking, releasing and extending, with the wish shown before the answer is there. A refusal takes
 * the wish back and says why.
 */
export class Lock {
  #store;
  #api;
  #holding;
  #wishes;
  #toasts;
  #tabs;
  #counter;

  constructor(store, api, holding, wishes, toasts, tabs, counter) {
    this.#store = store;
    this.#api = api;
    this.#holding = holding;
    this.#wishes = wishes;
    this.#toasts = toasts;
    this.#tabs = tabs;
    this.#counter = counter;
  }

  /** What a click on a seat means. */
  toggle(id) {
    const { session, hall, views, checkout, counter } = this.#store.state;
    const { state, mine, waiting } = views[hall.index.get(id)];
    if (waiting) return undefined;
    if (state === BOOKED) return this.#tell(id, mine ? "is yours, and paid for" : "has been sold");
    if (state === BLOCKED) return this.#tell(id, "is not for sale");
    if (counter) {
      return this.#counter.toggle(id, state) || this.#tell(id, "is held by somebody just now");
    }
    if (session.status === "unknown") return this.#onceKnown(() => this.toggle(id));
    if (session.status === "out") return this.#store.set({ offer: id });
    if (checkout && !["confirmed", "ended"].includes(checkout.phase)) {
      return this.#toasts.say("Pay for your booking, or cancel it to choose other seats.");
    }
    return state === MINE ? this.release([id]) : this.lock([id], state === LOCKED);
  }

  /** Locks all of `ids` or none. `asking`: they look taken, so show nothing before the answer. */
  lock(ids, asking = false) {
    if (this.#store.state.checkout) this.#store.set({ checkout: null });
    if (!asking) this.#wishes.ask(ids, MINE);
    return this.#send(
      ids,
      (path) => this.#api.post(path, { seats: ids }),
      () => {
        this.#wishes.drop(ids);
        this.#toasts.announce(`${this.#names(ids)} locked for you.`);
      },
    );
  }

  release(ids) {
    this.#wishes.ask(ids, AVAILABLE);
    const query = `?seats=${ids.join(",")}`;
    return this.#send(
      ids,
      (path) => this.#api.delete(path + query),
      () => {
        this.#wishes.settle(ids, AVAILABLE);
        this.#toasts.announce(`${this.#names(ids)} released.`);
      },
    );
  }

  extend() {
    return this.#send(
      [],
      (path) => this.#api.post(`${path}/extend`),
      ({ lock }) => {
        const left = lock.extensions_left;
        const more = left ? `${left} more extension left.` : "That was the last extension.";
        this.#toasts.say(`You have more time. ${more}`, "good");
      },
    );
  }

  async #send(ids, request, done) {
    const { id } = this.#store.state.hall;
    const here = () => this.#store.state.hall?.id === id;
    try {
      await this.#holding.inOrder(async () => {
        const asked = performance.now();
        const answer = await request(`/showtimes/${id}/seats/lock`);
        this.#tabs.say("seats-changed", id);
        if (!here()) return;
        this.#holding.take(answer.lock, asked);
        done(answer);
      });
    } catch (problem) {
      if (here()) this.#refused(ids, problem);
    }
  }

  #refused(ids, problem) {
    this.#wishes.drop(ids);
    if (problem.code === "rate_limited" && problem.retryAfter >= LONG) return this.#pause(problem);
    this.#toasts.say(
      refusal(problem, (id) => this.#nameOf(id)),
      "bad",
    );
    if (problem.code === "unauthenticated") this.#store.set({ offer: ids[0] ?? null });
    if (problem.passes || problem.code === "lock_expired") this.#holding.reload("expired");
  }

  /** Too many seats were held for too long: nothing can be locked for a while. */
  #pause({ message, retryAfter }) {
    const span = retryAfter * 1000;
    const pause = { reason: message, span, deadline: performance.now() + span };
    this.#store.set({ pause, lapse: null });
    setTimeout(() => this.#store.state.pause === pause && this.#store.set({ pause: null }), span);
  }

  #onceKnown(work) {
    this.#store.addEventListener("session", work, { once: true });
  }

  #tell(id, what) {
    this.#toasts.say(`${capital(this.#nameOf(id))} ${what}.`);
  }

  #nameOf(id) {
    const { hall } = this.#store.state;
    return hall.seats[hall.index.get(id)].name;
  }

  #names(ids) {
    return capital(list(ids.map((id) => this.#nameOf(id))));
  }
}
