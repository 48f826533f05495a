import { account } from "../app.js";
import { icon } from "../icons.js";
import { forget, keep } from "../memory.js";
import { h } from "../view.js";
import { refusal } from "../wording.js";
import { View } from "./view.js";

/** How I can sign in to this account, and the offer of one more way. */
class WaysIn extends View {
  static watches = ["account"];
  #note = "";

  template({ account: { ways } }) {
    if (!ways) return null;
    return h(
      "section",
      { class: "sheet", "aria-labelledby": "ways-title" },
      h("h2", { id: "ways-title" }, "Ways to sign in"),
      h(
        "ul",
        { class: "rows" },
        way("Password", ways.has_password, "This account has none."),
        way("Google", ways.google_linked, "Not linked.", () => this.#link()),
      ),
      !ways.google_linked &&
        h(
          "p",
          { class: "quiet" },
          "Linking takes a Google account with this very mail address. Your password stays as it is.",
        ),
      h("div", { role: "alert" }, this.#note && h("p", { class: "note" }, this.#note)),
    );
  }

  async #link() {
    this.#note = "";
    keep("linking", true);
    try {
      location.assign(await account.link());
    } catch (problem) {
      forget("linking");
      this.#note = refusal(problem);
      this.refresh();
    }
  }
}

function way(name, isThere, missing, add) {
  return h(
    "li",
    { "data-way": name.toLowerCase(), "data-there": isThere },
    h("b", {}, name),
    isThere
      ? h("span", { class: "tag", "data-outcome": "ok" }, "Ready")
      : h("span", { class: "quiet" }, missing),
    !isThere &&
      add &&
      h("button", { class: "button", id: "link", onclick: add }, icon("key"), "Link Google"),
  );
}

customElements.define("ways-in", WaysIn);
