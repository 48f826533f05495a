import { api, people, session, toasts } from "../app.js";
import { isAdmin, ROLES } from "../roles.js";
import { h } from "../view.js";
import { refusal } from "../wording.js";
import { choice, closedDoor, search } from "./house.js";
import { failedList, moreButton } from "./ledger.js";
import { personRow } from "./person-row.js";
import { View } from "./view.js";

const ROLE_NAMES = Object.entries(ROLES).map(([role, { name }]) => [role, name]);
const BLOCKED = [
  ["false", "Not blocked"],
  ["true", "Blocked"],
];

/** Everybody with an account, what they may do here, and whether they may come in. */
class PeoplePage extends View {
  static watches = ["people", "session"];
  #filters = { email: "", role: "", blocked: "" };
  #asking = null; // {id, change}: what waits for a yes
  #note = null; // {id, text}: what was refused, at whose row
  #reader = null;

  paint(state) {
    const { user } = state.session;
    if (isAdmin(user) && user.id !== this.#reader) {
      this.#reader = user.id;
      this.#load({});
    }
    super.paint(state);
  }

  template({ people: ledger, session: whose }) {
    const closed = closedDoor(whose, isAdmin, "This page is for administrators.");
    return h(
      "section",
      { class: "page" },
      h("header", { class: "page-head" }, h("h1", {}, "People")),
      closed,
      isAdmin(whose.user) && [this.#sieve(), this.#list(ledger, whose.user)],
    );
  }

  #sieve() {
    const { email, role, blocked } = this.#filters;
    const onsubmit = (event) => {
      event.preventDefault();
      this.#load({ email: event.currentTarget.querySelector("#person-email").value.trim() });
    };
    return h(
      "form",
      { class: "filters", role: "search", method: "post", onsubmit },
      search({
        id: "person-email",
        label: "Mail address",
        value: this.querySelector("#person-email")?.value ?? email,
        type: "search",
        inputmode: "email",
        autocomplete: "off",
        autocapitalize: "none",
        spellcheck: "false",
        placeholder: "whole address",
      }),
      choice({
        id: "person-role",
        label: "Role",
        chosen: role,
        any: "All roles",
        options: ROLE_NAMES,
        onchange: ({ target }) => this.#load({ role: target.value }),
      }),
      choice({
        id: "person-blocked",
        label: "State",
        chosen: blocked,
        any: "All",
        options: BLOCKED,
        onchange: ({ target }) => this.#load({ blocked: target.value }),
      }),
      h("button", { class: "button" }, "Search"),
    );
  }

  #list({ status, items, next, problem }, me) {
    return [
      h(
        "ul",
        { class: "cards" },
        items.map((person) => this.#row(person, me)),
      ),
      status === "ready" &&
        !items.length &&
        h(
          "p",
          { class: "empty", role: "status" },
          "Nobody fits this. Search for the whole mail address.",
        ),
      status === "failed" && failedList(problem, () => this.#load({})),
      moreButton(next, status, () => people.more()),
    ];
  }

  #row(person, me) {
    const { id } = person;
    return personRow(person, {
      isMe: id === me.id,
      asked: this.#asking?.id === id ? this.#asking.change : null,
      note: this.#note?.id === id ? this.#note.text : "",
      ask: (change) => this.#ask({ id, change }),
      keep: () => this.#ask(null),
      change: () => this.#change(person),
    });
  }

  #load(change) {
    this.#filters = { ...this.#filters, ...change };
    this.#asking = this.#note = null;
    people.load(this.#filters);
  }

  /** The question takes the focus, and gives it back to the row. */
  #ask(asking) {
    const row = asking?.id ?? this.#asking?.id;
    this.#asking = asking;
    this.#note = null;
    this.paint(this.state);
    const place = this.querySelector(`[data-person="${row}"]`);
    place?.querySelector(asking ? '[data-action="confirm"]' : "select")?.focus();
  }

  async #change({ id, name }) {
    const { change } = this.#asking;
    this.#ask(null);
    try {
      const { user } = await api.patch(`/admin/users/${id}`, change);
      people.replace(user);
      toasts.say(`${name}: ${done(change)}`, "good");
      if (id === this.state.session.user?.id) session.renew();
    } catch (problem) {
      this.#note = { id, text: refusal(problem) };
      this.refresh();
    }
  }
}

function done({ role, blocked }) {
  if (role) return `now ${ROLES[role].name.toLowerCase()}.`;
  return blocked ? "blocked, and signed out everywhere." : "may sign in again.";
}

customElements.define("people-page", PeoplePage);
