import { account, session, toasts } from "../app.js";
import { ago, stamp } from "../times.js";
import { h } from "../view.js";
import { refusal } from "../wording.js";
import { View } from "./view.js";

/** Where I am signed in, and an end to it: one by one, or all but this one. */
class DeviceList extends View {
  static watches = ["account"];
  #note = "";

  template({ account: { devices } }) {
    const others = devices.filter(({ current }) => !current).length;
    return h(
      "section",
      { class: "sheet", "aria-labelledby": "devices-title", tabindex: "-1" },
      h("h2", { id: "devices-title" }, "Signed-in devices"),
      h(
        "ul",
        { class: "rows" },
        devices.map((device) => this.#row(device)),
      ),
      h("div", { role: "alert" }, this.#note && h("p", { class: "note" }, this.#note)),
      others > 0 &&
        h(
          "div",
          { class: "actions" },
          h(
            "button",
            {
              class: "button danger",
              id: "end-others",
              onclick: () =>
                this.#end(() => account.endOthers(), "All other devices are signed out."),
            },
            "Sign out all others",
          ),
        ),
    );
  }

  #row({ id, name, current, last_used_at: used, created_at: since }) {
    const end = () =>
      current
        ? this.#end(() => session.signOut(), "You are signed out. See you soon.")
        : this.#end(() => account.endDevice(id), `${name} is signed out.`);
    return h(
      "li",
      { "data-key": id, "data-device": id, "data-current": current },
      h(
        "div",
        {},
        h(
          "p",
          { class: "device-name" },
          h("b", {}, name),
          current && h("span", { class: "tag", "data-outcome": "ok" }, "This device"),
        ),
        h(
          "p",
          { class: "quiet" },
          "Last used ",
          h("time", { datetime: used, title: stamp(used) }, current ? "just now" : ago(used)),
          ", signed in ",
          h("time", { datetime: since, title: stamp(since) }, ago(since)),
        ),
      ),
      h(
        "button",
        {
          class: "button",
          "aria-label": `Sign out ${current ? "this device" : name}`,
          onclick: end,
        },
        "Sign out",
      ),
    );
  }

  async #end(work, words) {
    this.#note = "";
    try {
      await work();
      toasts.say(words, "good");
    } catch (problem) {
      this.#note = refusal(problem);
    }
    this.refresh();
    // The button that was pressed is gone with its row.
    if (document.activeElement === document.body) this.querySelector("section")?.focus();
  }
}

customElements.define("device-list", DeviceList);
