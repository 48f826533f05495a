import { h } from "../view.js";
import "./countdown.js";

/** The end of a form: what was refused as a whole, the time to wait, and the button. */
export function submitRow(words, { note, wait, isBusy }) {
  return [
    h("div", { class: "form-note", role: "alert" }, note && h("p", { class: "note" }, note)),
    wait && h("p", { class: "wait" }, "Try again in ", h("count-down", { props: { time: wait } })),
    h(
      "div",
      { class: "actions" },
      h(
        "button",
        {
          class: "button primary",
          "aria-disabled": String(isBusy || Boolean(wait)), // not `disabled`: it keeps the focus
          "aria-busy": String(isBusy),
        },
        words,
      ),
    ),
  ];
}
