/**
 * A list that the server gives page by page, newest first, kept under one name of the store as
 * {status, items, next}: "idle", "loading", "ready" or "failed". My bookings and the audit log are
 * such lists.
 */
export const EMPTY_LEDGER = Object.freeze({ status: "idle", items: [], next: null });

export class Ledger {
  #store;
  #api;
  #name;
  #path;
  #query = "";
  #turn = 0;

  constructor(store, api, name, path) {
    this.#store = store;
    this.#api = api;
    this.#name = name;
    this.#path = path;
  }

  /** Reads the first page; `filters` is a record of query parameters, "" for none. */
  async load(filters = {}) {
    const given = Object.entries(filters).filter(([, value]) => value);
    this.#query = new URLSearchParams([...given, ["limit", "30"]]).toString();
    await this.#read("", []);
  }

  /** Reads the next page. */
  async more() {
    const { items, next } = this.#store.state[this.#name];
    if (next) await this.#read(`&cursor=${encodeURIComponent(next)}`, items);
  }

  /** Puts a newer version of an item in its place. */
  replace(item) {
    const ledger = this.#store.state[this.#name];
    const items = ledger.items.map((old) => (old.id === item.id ? item : old));
    this.#store.set({ [this.#name]: { ...ledger, items } });
  }

  async #read(cursor, before) {
    const turn = ++this.#turn; // a later question makes an earlier answer stale
    const put = (ledger) => turn === this.#turn && this.#store.set({ [this.#name]: ledger });
    put({ ...this.#store.state[this.#name], status: "loading" });
    try {
      const page = await this.#api.get(`${this.#path}?${this.#query}${cursor}`);
      put({ status: "ready", items: [...before, ...page.items], next: page.next_cursor });
    } catch (problem) {
      put({ status: "failed", items: before, next: null, problem });
    }
  }
}
