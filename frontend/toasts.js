const STAY = 7_000; // ms

/** Short messages that come, are read out, and go. */
export class Toasts {
  #store;
  #last = 0;

  constructor(store) {
    this.#store = store;
  }

  /** `tone` is "calm", "good" or "bad". The same text again replaces the one that stands. */
  say(text, tone = "calm", stay = STAY) {
    const toast = { id: `toast-${++this.#last}`, text, tone };
    const others = this.#store.state.toasts.filter((other) => other.text !== text);
    this.#store.set({ toasts: [...others.slice(-2), toast] });
    setTimeout(() => this.dismiss(toast.id), stay);
  }

  dismiss(id) {
    this.#store.set({ toasts: this.#store.state.toasts.filter((toast) => toast.id !== id) });
  }

  /** Words for screen readers alone, where the page shows the change by itself. */
  announce(text) {
    this.#store.set({ announcement: text });
  }
}
