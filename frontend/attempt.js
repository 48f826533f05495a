const TRIES = 4;
const LONGEST = 8; // seconds between two tries

/**
 * One wish of a person, sent as often as it takes under one Idempotency-Key.
 *
 * While no final answer has come the key stays, so pressing the button again asks for the same
 * thing and cannot do it twice. Another wish (`name`) gets another key.
 */
export class Attempt {
  #name = null;
  #key = null;
  #asked = 0;

  /**
   * Resolves to {answer, asked}: what `send(key)` gave, and when it was first asked for, since a
   * replayed answer counts its time from then. Rejects with the Problem of the last try.
   */
  async run(name, send) {
    if (this.#name !== name) {
      [this.#name, this.#key, this.#asked] = [name, newKey(), performance.now()];
    }
    for (let tries = 1; ; tries++) {
      try {
        const answer = await send(this.#key);
        this.#name = null;
        return { answer, asked: this.#asked };
      } catch (problem) {
        if (!problem.passes) this.#name = null;
        if (!problem.passes || tries === TRIES) throw problem;
        await new Promise((next) =>
          setTimeout(next, Math.min(problem.retryAfter || tries, LONGEST) * 1000),
        );
      }
    }
  }
}

/** crypto.randomUUID exists on secure origins alone. */
function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
