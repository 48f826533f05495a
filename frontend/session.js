import { fetchOrProblem } from "./api.js";
import { Problem } from "./problem.js";
import { inTurn } from "./turn.js";

const EARLY = 60_000; // renew this long before the access token ends, in ms
const AGAIN = 5_000; // after a renewal that got no answer
const REFRESH = Object.freeze({ method: "POST", keepalive: true }); // outlives a reload of the page
const OUT = Object.freeze({ status: "out", user: null });

/**
 * Who is signed in. The access token lives in this object alone; the refresh token is a cookie
 * that no script sees. A refresh token may be spent once, so tabs take turns.
 */
export class Session {
  #store;
  #tabs;
  #token = null;
  #endsAt = 0;
  #timer;
  #renewal = null;

  constructor(store, tabs) {
    this.#store = store;
    this.#tabs = tabs;
    tabs.hear("signed-out", () => this.#forget());
    tabs.hear("signed-in", (id) => id !== store.state.session.user?.id && this.renew());
  }

  /** Signs in quietly when the browser still has a refresh cookie. */
  start() {
    return this.renew();
  }

  /** The access token, renewed first when it is about to end; null when signed out. */
  async token() {
    if (this.#token && performance.now() > this.#endsAt - 5_000) await this.renew();
    return this.#token;
  }

  /** Returns true when there is a fresh access token. Calls at the same time share one renewal. */
  renew() {
    this.#renewal ??= inTurn(() => this.#refresh()).finally(() => {
      this.#renewal = null;
    });
    return this.#renewal;
  }

  /** Signs in with {email, password}; rejects with a Problem. */
  signIn(credentials) {
    return this.#enter("/auth/login", credentials);
  }

  /** Makes an account of {email, password, name} and signs in to it; rejects with a Problem. */
  register(person) {
    return this.#enter("/auth/register", person);
  }

  async signOut() {
    try {
      const response = await fetchOrProblem("/auth/logout", { method: "POST" });
      if (!response.ok) throw await Problem.from(response);
    } finally {
      this.#forget();
      this.#tabs.say("signed-out");
    }
  }

  #enter(path, body) {
    const headers = { "Content-Type": "application/json" };
    const request = { method: "POST", headers, body: JSON.stringify(body) };
    return inTurn(async () => {
      const asked = performance.now();
      const response = await fetchOrProblem(path, request);
      if (!response.ok) throw await Problem.from(response);
      this.#remember(await response.json(), asked);
    });
  }

  async #refresh() {
    const asked = performance.now();
    try {
      const response = await fetchOrProblem("/auth/refresh", REFRESH);
      if (!response.ok) throw await Problem.from(response);
      this.#remember(await response.json(), asked);
      return true;
    } catch (error) {
      if (error instanceof Problem && error.passes) this.#later(AGAIN);
      else this.#forget();
      if (this.#store.state.session.status === "unknown") this.#store.set({ session: OUT });
      return false;
    }
  }

  #remember({ access_token, expires_in, user }, asked) {
    const wasOut = !this.#token;
    this.#token = access_token;
    this.#endsAt = asked + expires_in * 1000;
    this.#later(Math.max(expires_in * 1000 - EARLY, (expires_in * 1000) / 2));
    const known = this.#store.state.session.user;
    if (JSON.stringify(known) !== JSON.stringify(user)) {
      this.#store.set({ session: { status: "in", user } });
    }
    if (wasOut) this.#tabs.say("signed-in", user.id);
  }

  #forget() {
    this.#token = null;
    clearTimeout(this.#timer);
    if (this.#store.state.session.status !== "out") this.#store.set({ session: OUT });
  }

  #later(ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.renew(), ms);
  }
}
