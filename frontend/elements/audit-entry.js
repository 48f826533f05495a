import { money } from "../money.js";
import { stamp } from "../times.js";
import { h } from "../view.js";

/** One entry of the audit log: when, what, how it ended, who, and the gist; the rest on demand. */
export function auditEntry({ id, at, actor, action, outcome, target, detail, request_id }) {
  return h(
    "li",
    { "data-key": id, "data-action": action },
    h("time", { datetime: at }, stamp(at)),
    h("b", { class: "action" }, action),
    h("span", { class: "tag", "data-outcome": outcome }, outcome),
    h("span", { class: "actor" }, actor.email ?? actor.id ?? actor),
    h("span", { class: "gist" }, gist(detail), " ", h("span", { class: "quiet" }, ids(target))),
    h(
      "details",
      {},
      h("summary", {}, "Detail"),
      h("pre", {}, JSON.stringify({ id, actor, target, detail, request_id }, null, 2)),
    ),
  );
}

/** {"seats": ["A1", "A2"], "amount": …, "reason": "expired"} as "A1, A2 · €25.00 · expired". */
function gist(detail) {
  return Object.values(detail ?? {})
    .map((part) => (Array.isArray(part) ? part.join(", ") : part?.currency ? money(part) : part))
    .filter((part) => typeof part === "string" || typeof part === "number")
    .join(" · ");
}

function ids(target) {
  return Object.values(target ?? {}).join(" ");
}
