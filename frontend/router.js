const PAGES = [
  { page: "showtimes", pattern: /^\/$/ },
  { page: "showtime", pattern: /^\/showtimes\/(?<id>[A-Za-z0-9_-]{1,64})$/ },
  { page: "bookings", pattern: /^\/bookings$/ },
  { page: "signIn", pattern: /^\/sign-in$/ },
  { page: "account", pattern: /^\/account$/ },
  { page: "people", pattern: /^\/admin\/people$/ },
  { page: "allBookings", pattern: /^\/admin\/bookings$/ },
  { page: "audit", pattern: /^\/admin\/audit$/ },
];

/** The address of the page, in the store as {page, id, query}. Links of our own never reload. */
export class Router {
  #store;

  constructor(store) {
    this.#store = store;
  }

  start() {
    window.addEventListener("popstate", () => this.#read());
    document.addEventListener("click", (event) => this.#follow(event));
    this.#read();
  }

  go(path) {
    if (path !== location.pathname + location.search) history.pushState(null, "", path);
    this.#read();
  }

  /** The same without a step in the history: nobody wants to go back to the page that is left. */
  replace(path) {
    history.replaceState(null, "", path);
    this.#read();
  }

  /** Changes the query alone, without a step in the history. */
  refine(query) {
    const given = Object.entries(query).filter(([, value]) => value);
    const search = new URLSearchParams(given).toString();
    history.replaceState(null, "", `${location.pathname}${search && `?${search}`}`);
    this.#read();
  }

  #read() {
    for (const { page, pattern } of PAGES) {
      const match = pattern.exec(location.pathname);
      if (match) return this.#show(page, match.groups?.id ?? null);
    }
    return this.#show("lost", null);
  }

  #show(page, id) {
    const query = Object.fromEntries(new URLSearchParams(location.search));
    this.#store.set({ route: { page, id, query } });
  }

  #follow(event) {
    const link = event.target.closest?.("a[href]");
    const special =
      event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || event.button;
    if (!link || special || event.defaultPrevented || link.target || link.download) return;
    const url = new URL(link.href);
    const ours = url.origin === location.origin && !/^\/(api|static|docs|dev)\b/.test(url.pathname);
    if (!ours || url.hash) return;
    event.preventDefault();
    this.go(url.pathname + url.search);
    window.scrollTo(0, 0);
  }
}
