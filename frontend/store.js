/**
 * The one place where the page's state lives.
 *
 * State is a flat record of values that are replaced, never changed in place. Setting a name
 * dispatches an event of that name, after the whole patch is in, so a listener never sees half of
 * it. `tell` is for things that happen rather than last, such as seat events.
 */
export class Store extends EventTarget {
  #state;

  constructor(initial) {
    super();
    this.#state = Object.freeze({ ...initial });
  }

  get state() {
    return this.#state;
  }

  set(patch) {
    const before = this.#state;
    const unknown = Object.keys(patch).find((name) => !(name in before));
    if (unknown) throw new Error(`The store has no place for ${unknown}`);
    this.#state = Object.freeze({ ...before, ...patch });
    for (const name of Object.keys(patch)) {
      if (!Object.is(before[name], this.#state[name])) this.dispatchEvent(new Event(name));
    }
  }

  tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  /** Calls `listener` when any of `names` changes, until `signal` aborts. */
  watch(names, listener, signal) {
    for (const name of names) this.addEventListener(name, listener, { signal });
  }
}
