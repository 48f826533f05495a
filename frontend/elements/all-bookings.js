import { allBookings, api, catalogue } from "../app.js";
import { isClerk } from "../roles.js";
import { saveFile } from "../save-file.js";
import { h } from "../view.js";
import { refusal } from "../wording.js";
import { bookingFilters } from "./booking-filters.js";
import { bookingRow } from "./booking-row.js";
import { closedDoor } from "./house.js";
import { failedList, moreButton } from "./ledger.js";
import { View } from "./view.js";

const COLUMNS = ["Booked", "Showtime", "Customer", "Seats", "Amount", "Status"];

/** Everybody's bookings, to look through and to take along as a spreadsheet. */
class AllBookingsPage extends View {
  static watches = ["allBookings", "session", "catalogue"];
  #filters = { movie: "", cinema: "", date: "", user: "", status: "" };
  #note = "";
  #isSaving = false;
  #reader = null;

  paint(state) {
    const { user } = state.session;
    if (isClerk(user) && user.id !== this.#reader) {
      this.#reader = user.id;
      catalogue.load();
      this.#load({});
    }
    super.paint(state);
  }

  template({ allBookings: ledger, catalogue: programme, session }) {
    return h(
      "section",
      { class: "page" },
      h("header", { class: "page-head" }, h("h1", {}, "All bookings")),
      closedDoor(session, isClerk, "This page is for the box office and administrators."),
      isClerk(session.user) && [this.#sieve(programme), this.#list(ledger)],
    );
  }

  #sieve(programme) {
    return bookingFilters(programme, this.#filters, {
      typed: this.querySelector("#booking-user")?.value,
      isSaving: this.#isSaving,
      note: this.#note,
      choose: (change) => this.#load(change),
      save: () => this.#save(),
    });
  }

  #list({ status, items, next, problem }) {
    return [
      items.length > 0 &&
        h(
          "table",
          { class: "ledger" },
          h("caption", { class: "unseen" }, "Bookings, newest first"),
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              COLUMNS.map((name) => h("th", { scope: "col" }, name)),
            ),
          ),
          h("tbody", {}, items.map(bookingRow)),
        ),
      status === "ready" &&
        !items.length &&
        h("p", { class: "empty", role: "status" }, "No booking fits this."),
      status === "failed" && failedList(problem, () => this.#load({})),
      moreButton(next, status, () => allBookings.more()),
    ];
  }

  #load(change) {
    this.#filters = { ...this.#filters, ...change };
    this.#note = "";
    allBookings.load(this.#filters);
  }

  /** Fetched with the token in a header, then saved: no address ever holds a token. */
  async #save() {
    if (this.#isSaving) return;
    const given = Object.entries(this.#filters).filter(([, value]) => value);
    this.#isSaving = true;
    this.#note = "";
    this.refresh();
    try {
      const { blob } = await api.file(`/admin/bookings?${new URLSearchParams(given)}`, "text/csv");
      saveFile(blob, "bookings.csv");
    } catch (problem) {
      this.#note = refusal(problem);
    }
    this.#isSaving = false;
    this.refresh();
  }
}

customElements.define("all-bookings-page", AllBookingsPage);
