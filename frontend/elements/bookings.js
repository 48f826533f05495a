import { api, bookings } from "../app.js";
import { h } from "../view.js";
import { signInPath } from "../way-back.js";
import { refusal } from "../wording.js";
import { bookingCard } from "./booking-card.js";
import { failedList, moreButton } from "./ledger.js";
import { View } from "./view.js";

const REFRESH = 4_000; // ms between looks at a payment or refund that is on its way

/** My bookings, newest first, with what can still be done about each. */
class BookingsPage extends View {
  static watches = ["bookings", "session"];
  #asking = null; // {id, seats}: what of which booking waits for a yes to be given back
  #shown = null; // the booking whose ticket is on the page
  #note = null; // {id, text}: what was refused, beside its booking
  #reader = null; // whose bookings were read
  #timer = 0;

  end() {
    clearTimeout(this.#timer);
  }

  paint(state) {
    const { session, bookings: ledger } = state;
    if (session.status === "in" && session.user.id !== this.#reader) {
      this.#reader = session.user.id;
      bookings.load();
    }
    super.paint(state);
    const moving = ledger.items.filter(
      ({ status, refund }) => status === "paying" || refund === "due",
    );
    clearTimeout(this.#timer);
    if (moving.length) {
      this.#timer = setTimeout(() => moving.forEach(({ id }) => this.#reread(id)), REFRESH);
    }
  }

  template({ session, bookings: ledger }) {
    return h(
      "section",
      { class: "page narrow" },
      h("header", { class: "page-head" }, h("h1", {}, "My bookings")),
      session.status === "out" ? signedOut() : this.#list(ledger),
    );
  }

  #list({ status, items, next, problem }) {
    if (!items.length && status === "ready") return nothing();
    return [
      h(
        "ul",
        { class: "cards" },
        items.map((booking) => this.#card(booking)),
      ),
      status === "failed" && failedList(problem, () => bookings.load()),
      moreButton(next, status, () => bookings.more()),
    ];
  }

  #card(booking) {
    const { id, seats } = booking;
    return bookingCard(booking, {
      chosen: this.#asking?.id === id ? this.#asking.seats.filter((s) => seats.includes(s)) : null,
      note: this.#note?.id === id ? this.#note.text : "",
      ask: () => this.#ask({ id, seats }),
      choose: (seat) => this.#choose(seat),
      keep: () => this.#ask(null),
      isShown: this.#shown === id,
      show: () => this.#show(id),
      cancel: () => this.#cancel(booking),
    });
  }

  #show(id) {
    this.#shown = this.#shown === id ? null : id;
    this.refresh();
  }

  #ask(asking) {
    this.#asking = asking;
    this.#note = null;
    this.refresh();
  }

  #choose(seat) {
    const { id, seats } = this.#asking;
    const isChosen = seats.includes(seat);
    this.#ask({ id, seats: isChosen ? seats.filter((other) => other !== seat) : [...seats, seat] });
  }

  async #cancel({ id, seats: all }) {
    const { seats } = this.#asking;
    const some = seats.length < all.length ? `?seats=${seats.join(",")}` : "";
    this.#ask(null);
    try {
      await api.delete(`/bookings/${id}${some}`);
    } catch (problem) {
      this.#note = { id, text: refusal(problem) };
    }
    await this.#reread(id);
    this.refresh();
  }

  async #reread(id) {
    const answer = await api.get(`/bookings/${id}`).catch(() => null);
    if (answer) bookings.replace(answer.booking);
    else if (this.isConnected) this.refresh(); // sets the timer again
  }
}

function signedOut() {
  return h(
    "div",
    { class: "empty" },
    h("p", {}, "Sign in to see your bookings."),
    h("a", { class: "button primary", href: signInPath() }, "Sign in"),
  );
}

function nothing() {
  return h(
    "div",
    { class: "empty" },
    h("p", {}, "No bookings yet. The best seats are still waiting."),
    h("a", { class: "button primary", href: "/" }, "See what’s on"),
  );
}

customElements.define("bookings-page", BookingsPage);
