import { h } from "../view.js";
import { refusal } from "../wording.js";

/** What every list that is read page by page has at its end. */

export function moreButton(next, status, onclick) {
  if (status === "loading") return h("p", { class: "empty", "aria-busy": "true" }, "Reading…");
  return next && h("button", { class: "button more", id: "load-more", onclick }, "Load more");
}

export function failedList(problem, again) {
  return h(
    "div",
    { class: "empty", role: "alert" },
    h("p", {}, refusal(problem)),
    problem.status !== 403 && h("button", { class: "button", onclick: again }, "Try again"),
  );
}
