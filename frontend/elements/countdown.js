import { countdown } from "../times.js";

const LAST_MINUTE = 60_000;

/** What is left until `deadline` (on performance.now()) of a whole `span`, in digits and as a bar. */
class CountDown extends HTMLElement {
  #timer = 0;
  #deadline = 0;
  #span = 1;

  set time({ deadline, span }) {
    if (deadline === this.#deadline && span === this.#span) return;
    [this.#deadline, this.#span] = [deadline, Math.max(1, span)];
    if (this.isConnected) this.#tick();
  }

  connectedCallback() {
    this.setAttribute("role", "timer");
    this.#tick();
  }

  disconnectedCallback() {
    clearTimeout(this.#timer);
  }

  #tick() {
    clearTimeout(this.#timer);
    const left = Math.max(0, this.#deadline - performance.now());
    const digits = countdown(left);
    this.textContent = digits;
    this.setAttribute("aria-label", `${digits} left`);
    this.toggleAttribute("data-urgent", left <= LAST_MINUTE);
    this.style.setProperty("--left", Math.min(1, left / this.#span).toFixed(4));
    if (left > 0) this.#timer = setTimeout(() => this.#tick(), (left % 1000) + 5);
  }
}

customElements.define("count-down", CountDown);
