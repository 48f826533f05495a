import { audit } from "../app.js";
import { h } from "../view.js";
import { signInPath } from "../way-back.js";
import { auditEntry } from "./audit-entry.js";
import { failedList, moreButton } from "./ledger.js";
import { View } from "./view.js";

const ACTIONS = [
  "seat.locked",
  "seat.released",
  "seat.booked",
  "seat.blocked",
  "booking.created",
  "booking.confirmed",
  "booking.cancelled",
  "booking.expired",
  "payment.started",
  "payment.captured",
  "payment.declined",
  "payment.cancelled",
  "payment.refunded",
  "auth.signed_in",
  "auth.signed_out",
  "auth.failed",
  "admin.showtime_cancelled",
  "admin.alerted",
  "system.error",
];

/** What happened in the house, newest first. For administrators. */
class AuditPage extends View {
  static watches = ["audit", "session"];
  #action = "";
  #reader = null;

  paint(state) {
    const { user } = state.session;
    if (user?.role === "ADMIN" && user.id !== this.#reader) {
      this.#reader = user.id;
      this.#load();
    }
    super.paint(state);
  }

  template({ audit: ledger, session: { status, user } }) {
    return h(
      "section",
      { class: "page" },
      h("header", { class: "page-head" }, h("h1", {}, "Audit log")),
      status === "out" && refused("Sign in as an administrator to read the audit log.", true),
      status === "in" && user.role !== "ADMIN" && refused("The audit log is for administrators."),
      user?.role === "ADMIN" && this.#log(ledger),
    );
  }

  #log({ status, items, next, problem }) {
    const seen = items.map(({ action }) => action);
    const actions = [...new Set([...ACTIONS, ...seen, this.#action])].filter(Boolean).sort();
    return [
      h(
        "div",
        { class: "filters" },
        h(
          "label",
          { class: "select" },
          h("span", {}, "Action"),
          h(
            "select",
            { id: "action", onchange: ({ target }) => this.#load(target.value) },
            h("option", { value: "" }, "All actions"),
            actions.map((action) =>
              h("option", { value: action, selected: action === this.#action }, action),
            ),
          ),
        ),
        h(
          "button",
          { class: "button small", id: "reload", onclick: () => this.#load() },
          "Refresh",
        ),
      ),
      h("ol", { class: "entries" }, items.map(auditEntry)),
      status === "ready" &&
        !items.length &&
        h("p", { class: "empty" }, "Nothing of this kind has happened yet."),
      status === "failed" && failedList(problem, () => this.#load()),
      moreButton(next, status, () => audit.more()),
    ];
  }

  #load(action = this.#action) {
    this.#action = action;
    audit.load({ action });
  }
}

function refused(words, offersSignIn = false) {
  return h(
    "div",
    { class: "empty", role: "alert" },
    h("p", {}, words),
    offersSignIn && h("a", { class: "button primary", href: signInPath() }, "Sign in"),
  );
}

customElements.define("audit-page", AuditPage);
