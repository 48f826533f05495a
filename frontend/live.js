import { pause } from "./backoff.js";
import { RESTART, RESUME, UNKNOWN } from "./live-rule.js";

const SILENCE = 45_000; // ms without a frame until a connection counts as dead
const STEADY = 2_000; // ms that a connection must last to be forgiven earlier failures
const CROWDED = new Map([
  [1012, 2], // restart: come back as if two attempts had failed, so that the crowd spreads
  [1013, 4], // try later
  [4408, 1], // too slow
]);
const FINAL = new Map([
  [1008, "refused"],
  [4404, "missing"],
]);

/**
 * Keeps one live connection to a showtime alive.
 *
 * `position()` returns {epoch, seq} or null; `receive(frame, first)` returns the verdict of the
 * client rule; `report(status, reason)` hears "connecting", "live", "reconnecting", "offline" or
 * "stopped" (reason: "refused" or "missing").
 */
export class Live {
  #path;
  #hooks;
  #socket = null;
  #bare = false; // connect without a position next time
  #failures = 0;
  #heardAt = 0;
  #timers = { retry: 0, watchdog: 0, steady: 0 };
  #ended = new AbortController();

  constructor(path, hooks) {
    this.#path = path;
    this.#hooks = hooks;
  }

  start() {
    const { signal } = this.#ended;
    window.addEventListener("online", () => this.#connect("reconnecting"), { signal });
    window.addEventListener("offline", () => this.#hooks.report("offline"), { signal });
    document.addEventListener("visibilitychange", () => document.hidden || this.#wake(), {
      signal,
    });
    this.#connect("connecting");
  }

  stop() {
    this.#ended.abort();
    this.#drop();
  }

  #connect(status) {
    this.#drop();
    this.#hooks.report(navigator.onLine ? status : "offline");
    const socket = new WebSocket(this.#address());
    let first = true;
    socket.onmessage = ({ data }) => {
      this.#alive();
      const wasFirst = first;
      first = false;
      this.#hear(data, wasFirst);
    };
    socket.onclose = ({ code }) => this.#closed(code);
    this.#socket = socket;
    this.#watch();
  }

  #address() {
    const url = new URL(this.#path, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const position = this.#bare ? null : this.#hooks.position();
    if (position) url.search = new URLSearchParams({ epoch: position.epoch, seq: position.seq });
    return url;
  }

  #hear(data, first) {
    const frame = parse(data);
    const verdict = this.#hooks.receive(frame, first, this.#bare);
    if (verdict === UNKNOWN) console.error("live: unknown frame", frame.type);
    if (verdict === RESTART || verdict === RESUME) return this.#again(verdict === RESTART);
    if (first) this.#settle();
  }

  #settle() {
    this.#bare = false;
    this.#hooks.report("live");
    this.#timers.steady = setTimeout(() => (this.#failures = 0), STEADY);
  }

  /** Comes back after a random delay, longer in a `crowd`; `bare` leaves the position behind. */
  #again(bare = this.#bare, crowd = 0) {
    this.#drop();
    this.#bare = bare;
    this.#hooks.report(navigator.onLine ? "reconnecting" : "offline");
    const delay = pause(Math.max(this.#failures++, crowd));
    this.#timers.retry = setTimeout(() => this.#connect("reconnecting"), delay);
  }

  #closed(code) {
    if (FINAL.has(code)) {
      this.stop();
      return this.#hooks.report("stopped", FINAL.get(code));
    }
    return this.#again(this.#bare, CROWDED.get(code));
  }

  /** The person is back: do not sit out a delay, and do not trust an old silence. */
  #wake() {
    const quiet = performance.now() - this.#heardAt > SILENCE / 2;
    if (this.#socket?.readyState !== WebSocket.OPEN || quiet) this.#connect("reconnecting");
  }

  #alive() {
    this.#heardAt = performance.now();
    this.#watch();
  }

  #watch() {
    clearTimeout(this.#timers.watchdog);
    this.#timers.watchdog = setTimeout(() => this.#again(), SILENCE);
  }

  #drop() {
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    if (!this.#socket) return;
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#socket = null;
  }
}

function parse(data) {
  try {
    return JSON.parse(data);
  } catch {
    return { type: "not JSON" };
  }
}
