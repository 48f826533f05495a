import { store } from "../app.js";
import { render } from "../view.js";

/**
 * An element that draws a part of the store's state. Subclasses name what they watch and return
 * their children from `template(state)`; changes of one turn are drawn together.
 */
export class View extends HTMLElement {
  static watches = [];
  #gone = null;
  #due = false;

  connectedCallback() {
    this.#gone = new AbortController();
    store.watch(this.constructor.watches, () => this.refresh(), this.#gone.signal);
    this.start(this.#gone.signal);
    this.paint(store.state);
  }

  disconnectedCallback() {
    this.#gone.abort();
    this.end();
  }

  /** Called when the element comes onto the page; `signal` aborts when it leaves. */
  start() {}

  end() {}

  get state() {
    return store.state;
  }

  refresh() {
    if (this.#due) return;
    this.#due = true;
    queueMicrotask(() => {
      this.#due = false;
      if (this.isConnected) this.paint(store.state);
    });
  }

  paint(state) {
    render(this, this.template(state));
  }

  template() {
    return [];
  }
}
