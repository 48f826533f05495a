import { ROLES } from "../roles.js";
import { ago, stamp } from "../times.js";
import { h } from "../view.js";

/**
 * One person in the list of all. `asked`: the change that waits for a yes, {role} or {blocked};
 * `note`: what was refused; `ask`, `keep` and `change` are what can be done.
 */
export function personRow(person, { isMe, asked, note, ...todo }) {
  const { id, name, email, email_verified: verified, role, blocked } = person;
  return h(
    "li",
    { class: "person", "data-key": id, "data-person": id, "data-blocked": String(blocked) },
    h(
      "div",
      { class: "person-words" },
      h(
        "h2",
        {},
        name,
        isMe && h("span", { class: "tag", "data-outcome": "ok" }, "You"),
        blocked && h("span", { class: "tag", "data-tone": "bad" }, "Blocked"),
      ),
      h(
        "p",
        { class: "mail" },
        email,
        verified === false && h("span", { class: "tag" }, "Not verified"),
      ),
      h("p", { class: "quiet" }, ...story(person)),
    ),
    h(
      "div",
      { class: "person-side" },
      h(
        "label",
        { class: "select" },
        h("span", { class: "unseen" }, `Role of ${name}`),
        h(
          "select",
          { "data-action": "role", onchange: ({ target }) => todo.ask({ role: target.value }) },
          Object.entries(ROLES).map(([value, { name: words }]) =>
            h("option", { value, selected: value === (asked?.role ?? role) }, words),
          ),
        ),
      ),
      h(
        "button",
        {
          class: blocked ? "button" : "button danger",
          "data-action": "block",
          "aria-label": `${blocked ? "Unblock" : "Block"} ${name}`,
          onclick: () => todo.ask({ blocked: !blocked }),
        },
        blocked ? "Unblock" : "Block",
      ),
    ),
    asked && question(person, asked, todo, isMe),
    h("div", { class: "person-note", role: "alert" }, note && h("p", { class: "note" }, note)),
  );
}

function story({ providers, created_at: since, signed_in_at: seen }) {
  const ways = providers.map(way).join(" and ");
  return [
    ways && `Signs in with ${ways} · `,
    "here since ",
    h("time", { datetime: since, title: stamp(since) }, ago(since)),
    seen && [" · last sign-in ", h("time", { datetime: seen, title: stamp(seen) }, ago(seen))],
  ];
}

/** A provider is named by its address. */
function way(provider) {
  if (provider === "password") return "a password";
  return provider.includes("google") ? "Google" : "the sign-in service";
}

function question(person, asked, { keep, change }, isMe) {
  return h(
    "div",
    { class: "give-back", role: "group", "aria-labelledby": `ask-${person.id}`, "data-key": "ask" },
    h("p", { id: `ask-${person.id}` }, consequence(person, asked), isMe && " This is you."),
    h(
      "div",
      { class: "actions" },
      h(
        "button",
        {
          class: asked.blocked ? "button danger" : "button primary",
          "data-action": "confirm",
          "aria-describedby": `ask-${person.id}`,
          onclick: change,
        },
        verb(asked),
      ),
      h(
        "button",
        { class: "button plain", "data-action": "keep", onclick: keep },
        "Leave as it is",
      ),
    ),
  );
}

function verb({ role, blocked }) {
  if (role) return "Change role";
  return blocked ? "Block" : "Unblock";
}

function consequence({ name }, { role, blocked }) {
  if (role)
    return `${name} will be ${ROLES[role].name.toLowerCase()} and may ${ROLES[role].may}. This holds at once.`;
  return blocked
    ? `${name} will be signed out everywhere and cannot sign in until you unblock them. Their bookings stay.`
    : `${name} will be able to sign in again.`;
}
