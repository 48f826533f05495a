const WARNING = 60_000; // ms before the end

/**
 * One deadline on the monotonic clock (performance.now()), so that a wrong wall clock does no harm.
 * Calls `warn` once when the last minute begins and `end` when it is over.
 */
export class Deadline {
  #hooks;
  #timers = [];

  constructor(hooks) {
    this.#hooks = hooks;
  }

  set(at) {
    this.clear();
    const left = at - performance.now();
    if (left > WARNING) this.#timers.push(setTimeout(this.#hooks.warn, left - WARNING));
    this.#timers.push(setTimeout(this.#hooks.end, Math.max(0, left)));
  }

  clear() {
    for (const timer of this.#timers.splice(0)) clearTimeout(timer);
  }
}

/**
 * {deadline, span} of something that `expires_in_ms` after `asked`, the moment of the question: the
 * page never promises more time than there is. `span` is the whole, as far as it is known.
 */
export function timed({ expires_in_ms: left }, asked, knownSpan = 0) {
  return { deadline: asked + left, span: Math.max(left, knownSpan) };
}
