import { deviceName } from "./user-agents.js";

/** What `account` in the store is before anything was read. */
export const NO_ACCOUNT = Object.freeze({ status: "idle", ways: null, devices: [] });

/**
 * My account beyond what every page knows of me, in the store as {status, ways, devices}: how I can
 * sign in, and where I am signed in. All but `load` reject with a Problem.
 */
export class Account {
  #store;
  #api;
  #owner = null; // of what the store holds

  constructor(store, api) {
    this.#store = store;
    this.#api = api;
  }

  async load() {
    const { user } = this.#store.state.session;
    if (this.#owner !== user?.id) this.forget();
    this.#owner = user?.id;
    const isStale = () => this.#store.state.session.user?.id !== user?.id;
    try {
      const [{ account }, { items }] = await Promise.all([
        this.#api.get("/me"),
        this.#api.get("/auth/sessions"),
      ]);
      if (isStale()) return;
      this.#store.set({ account: { status: "ready", ways: account, devices: items.map(named) } });
    } catch (problem) {
      if (!isStale()) this.#store.set({ account: { ...NO_ACCOUNT, status: "failed", problem } });
    }
  }

  forget() {
    this.#store.set({ account: NO_ACCOUNT });
  }

  async changePassword(current, next) {
    await this.#api.post("/auth/password", { current_password: current, new_password: next });
    await this.load();
  }

  /** Resolves to the address of the provider, where the person goes on. */
  async link() {
    return (await this.#api.post("/auth/link")).location;
  }

  async endDevice(id) {
    await this.#api.delete(`/auth/sessions/${id}`).catch(unlessGone);
    await this.load();
  }

  async endOthers() {
    await this.#api.delete("/auth/sessions");
    await this.load();
  }
}

function named(session) {
  return { ...session, name: deviceName(session.user_agent) };
}

function unlessGone(problem) {
  if (problem.code !== "not_found") throw problem;
}
