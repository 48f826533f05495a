import { h } from "../view.js";
import { signInPath } from "../way-back.js";

/** What a page of the house says to who may not see it; null for who may. */
export function closedDoor({ status, user }, mayEnter, words) {
  if (status === "unknown" || mayEnter(user)) return null;
  return h(
    "div",
    { class: "empty", role: "alert" },
    h("p", {}, words),
    status === "out" && h("a", { class: "button primary", href: signInPath() }, "Sign in"),
    status === "in" && h("a", { href: "/" }, "See what’s on"),
  );
}

/** A labelled choice from [value, name] pairs, of which "" stands for any. */
export function choice({ id, label, chosen, any, onchange, options }) {
  return h(
    "label",
    { class: "select" },
    h("span", {}, label),
    h(
      "select",
      { id, onchange },
      any && h("option", { value: "", selected: !chosen }, any),
      options.map(([value, name]) => h("option", { value, selected: value === chosen }, name)),
    ),
  );
}

/** A labelled box for what narrows a list. */
export function search({ id, label, value, ...input }) {
  return h(
    "label",
    { class: "select" },
    h("span", {}, label),
    h("input", { id, class: "search", ...input, props: { value } }),
  );
}
