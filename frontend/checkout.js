import { Attempt } from "./attempt.js";
import { AVAILABLE } from "./seats.js";
import { refusal } from "./wording.js";

const POLL = { first: 700, factor: 1.4, longest: 5_000 }; // ms
const BOOKING = Object.freeze({ phase: "booking", booking: null, note: "" });

/** From a lock to a paid booking: book, pay, wait for an unknown outcome, cancel. */
export class Checkout {
  #store;
  #api;
  #holding;
  #wishes;
  #toasts;
  #tabs;
  #attempt = new Attempt();
  #polled = null;

  constructor(store, api, holding, wishes, toasts, tabs) {
    this.#store = store;
    this.#api = api;
    this.#holding = holding;
    this.#wishes = wishes;
    this.#toasts = toasts;
    this.#tabs = tabs;
    store.addEventListener("checkout", () => this.#follow());
  }

  /** Books all the seats of my lock. */
  async book() {
    const { hall, lock } = this.#store.state;
    const body = { showtime_id: hall.id, seats: lock.seats };
    this.#store.set({ checkout: BOOKING });
    try {
      await this.#holding.inOrder(async () => {
        const name = `book ${lock.id} ${lock.seats}`;
        const { answer, asked } = await this.#ask(name, "/bookings", body);
        if (this.#store.state.checkout === BOOKING) this.#holding.carry(answer.booking, asked);
      });
    } catch (problem) {
      if (this.#store.state.checkout === BOOKING) this.#store.set({ checkout: null });
      this.#refuse(problem);
    }
    this.#tabs.say("seats-changed", hall.id);
  }

  /** Pays with a method such as "demo:approve"; an outcome that stays open is polled. */
  async pay(method) {
    const { checkout } = this.#store.state;
    const { booking } = checkout;
    this.#store.set({ checkout: { ...checkout, phase: "paying", note: "" } });
    const path = `/bookings/${booking.id}/pay`;
    try {
      await this.#holding.inOrder(async () => {
        const name = `pay ${booking.id} ${method}`;
        const { answer, asked } = await this.#ask(name, path, { payment_method: method });
        this.#carry(answer.booking, asked);
      });
    } catch (problem) {
      if (problem.passes) return this.#poll(booking, "unanswered");
      if (problem.code !== "payment_declined") this.#refuse(problem);
      await this.#reread(booking, problem.code === "payment_declined" ? "declined" : "");
    }
    return this.#tabs.say("seats-changed", booking.showtime_id);
  }

  /** Gives an unpaid booking up; its seats are free again. */
  async cancel() {
    const { booking } = this.#store.state.checkout;
    this.#wishes.ask(booking.seats, AVAILABLE);
    try {
      await this.#api.delete(`/bookings/${booking.id}`);
      if (this.#concerns(booking)) {
        this.#wishes.settle(booking.seats, AVAILABLE);
        this.#store.set({ checkout: null });
        this.#toasts.say("Cancelled. The seats are free again.");
      }
    } catch (problem) {
      this.#wishes.drop(booking.seats);
      this.#refuse(problem);
      await this.#reread(booking, "");
    }
    this.#tabs.say("seats-changed", booking.showtime_id);
  }

  dismiss() {
    this.#store.set({ checkout: null, lapse: null });
  }

  /** Sends a wish under its own key, again and again if need be. */
  #ask(name, path, body) {
    return this.#attempt.run(name, (key) => this.#api.post(path, body, { key }));
  }

  #follow() {
    const { booking } = this.#store.state.checkout ?? {};
    if (booking?.status === "paying") this.#poll(booking, "declined");
  }

  /** While a payment's outcome is unknown, asks for it; one poll at a time. */
  async #poll(booking, note) {
    if (this.#polled === booking.id) return;
    this.#polled = booking.id;
    let wait = POLL.first;
    do {
      await new Promise((next) => setTimeout(next, wait));
      wait = Math.min(wait * POLL.factor, POLL.longest);
      if (this.#waits(booking)) await this.#reread(booking, note);
    } while (this.#waits(booking));
    this.#polled = null;
  }

  /** `note` is what it means when the booking is back at pending. */
  async #reread(booking, note) {
    const asked = performance.now();
    const path = `/bookings/${booking.id}`;
    const answer = await this.#api.get(path).catch(() => null); // asked again at the next turn
    if (answer) this.#carry(answer.booking, asked, answer.booking.status === "pending" ? note : "");
  }

  #carry(booking, asked, note) {
    if (this.#concerns(booking)) this.#holding.carry(booking, asked, note);
  }

  #concerns({ id }) {
    return this.#store.state.checkout?.booking?.id === id;
  }

  #waits(booking) {
    return this.#concerns(booking) && this.#store.state.checkout.phase === "paying";
  }

  #refuse(problem) {
    const { hall } = this.#store.state;
    if (!hall?.index) return;
    this.#toasts.say(
      refusal(problem, (id) => hall.seats[hall.index.get(id)].name),
      "bad",
    );
    this.#holding.reload("expired");
  }
}
