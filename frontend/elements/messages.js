import { toasts } from "../app.js";
import { icon } from "../icons.js";
import { h } from "../view.js";
import { View } from "./view.js";

/** Short messages, in sight and read out. */
class ToastStack extends View {
  static watches = ["toasts"];

  template({ toasts: standing }) {
    return h(
      "div",
      { class: "toasts", role: "status", "aria-live": "polite" },
      standing.map(toastOf),
    );
  }
}

function toastOf({ id, text, tone }) {
  return h(
    "div",
    { class: "toast", "data-key": id, "data-tone": tone },
    h("p", {}, text),
    h(
      "button",
      { class: "plain", "aria-label": "Dismiss", onclick: () => toasts.dismiss(id) },
      icon("close"),
    ),
  );
}

/** Changes that the page shows by itself, in words for screen readers. */
class ScreenReaderNews extends View {
  static watches = ["announcement"];

  template({ announcement }) {
    return announcement;
  }
}

customElements.define("toast-stack", ToastStack);
customElements.define("screen-reader-news", ScreenReaderNews);
