import { h } from "../view.js";
import { refusal } from "../wording.js";
import { complaint, field, passwordField } from "./field.js";
import { submitRow } from "./submit-row.js";
import { View } from "./view.js";

const LONG = 3; // seconds to wait that are worth a countdown

/**
 * An element with one form. What was typed survives every repaint; what is missing or was refused is
 * told at its field, or above the button; and where the server says to wait, the time runs down.
 *
 * Subclasses draw it with `form`, `field`, `password` and `submit`, and give `send(values)`, which
 * may reject with a Problem, and `explain(problem)`: {name of a field: words}, {note: words}, or
 * nothing for the usual words.
 */
export class FormView extends View {
  #typed = {};
  #told = {}; // name of a field, or "note": words
  #shown = new Set(); // names of the passwords that are shown
  #wait = null; // {deadline, span}
  #isBusy = false;

  get typed() {
    return this.#typed;
  }

  paint(state) {
    this.#remember();
    super.paint(state);
  }

  explain() {
    return undefined;
  }

  form(given, ...children) {
    const onsubmit = (event) => {
      event.preventDefault();
      this.#submit(event.currentTarget);
    };
    const oninput = ({ target }) => {
      delete this.#told[target.name]; // it is being mended
      this.refresh();
    };
    // Should no script run, a post keeps what was typed out of the address.
    const all = { method: "post", novalidate: true, onsubmit, oninput, ...given };
    return h("form", all, ...children);
  }

  field(given) {
    const { name } = given;
    return field({ value: this.#typed[name] ?? "", error: this.#told[name], ...given });
  }

  password(given) {
    const { name } = given;
    return passwordField({
      value: this.#typed[name] ?? "",
      error: this.#told[name],
      isShown: this.#shown.has(name),
      toggle: () => {
        if (!this.#shown.delete(name)) this.#shown.add(name);
        this.refresh();
      },
      ...given,
    });
  }

  submit(words) {
    return submitRow(words, { note: this.#told.note, wait: this.#wait, isBusy: this.#isBusy });
  }

  /** Empties the form, as after a change that is done. */
  clear() {
    this.querySelector("form")?.reset();
    this.#shown.clear();
    this.#typed = {};
    this.#tell({});
  }

  #remember() {
    const form = this.querySelector("form");
    if (form) this.#typed = Object.fromEntries(new FormData(form));
  }

  async #submit(form) {
    if (this.#isBusy || this.#wait) return;
    const wrong = [...form.elements].map((input) => [input.name, complaint(input)]);
    const told = Object.fromEntries(wrong.filter(([, words]) => words));
    if (Object.keys(told).length) return this.#tell(told);
    this.#remember();
    this.#isBusy = true;
    this.#tell({});
    try {
      await this.send(this.#typed);
    } catch (problem) {
      this.#refused(problem);
    } finally {
      this.#isBusy = false;
      this.refresh();
    }
  }

  #refused(problem) {
    if (!problem.code) throw problem;
    if (problem.code === "rate_limited" && problem.retryAfter >= LONG) this.#hold(problem);
    this.#tell(this.explain(problem) ?? { note: refusal(problem) });
  }

  #hold({ retryAfter }) {
    const span = retryAfter * 1000;
    this.#wait = { deadline: performance.now() + span, span };
    setTimeout(() => {
      this.#wait = null;
      this.#tell({});
    }, span);
  }

  /** Shows what is wrong and leads to the first field that is. */
  #tell(told) {
    this.#told = told;
    if (this.isConnected) this.paint(this.state);
    this.querySelector('[aria-invalid="true"]')?.focus();
  }
}
