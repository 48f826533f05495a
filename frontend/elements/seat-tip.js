import { h, render } from "../view.js";

const GAP = 8; // pixels between seat and tip

/**
 * The words of the seat under the mouse or in keyboard focus, beside it. For eyes alone: the cell's
 * own label says the same.
 */
export class SeatTip {
  element = h("div", { class: "tip", "aria-hidden": "true" });
  #map;
  #cell = null;

  constructor(map, signal) {
    this.#map = map;
    const listen = (type, listener) => map.addEventListener(type, listener, { signal });
    listen("pointerover", (event) => event.pointerType === "mouse" && this.#point(cellOf(event)));
    listen("pointerleave", () => this.#point(null));
    listen("focusin", (event) =>
      this.#point(cellOf(event)?.matches(":focus-visible") ? cellOf(event) : null),
    );
    listen("focusout", () => this.#point(null));
    map.addEventListener("scroll", () => this.#point(null), { signal, capture: true });
  }

  /** The seat may have changed under the tip. */
  refresh() {
    if (this.#cell) this.#point(this.#cell);
  }

  #point(cell) {
    this.#cell = cell;
    this.element.toggleAttribute("data-on", Boolean(cell));
    if (!cell) return;
    const [name, ...rest] = cell.getAttribute("aria-label").split(", ");
    render(this.element, h("b", {}, name), h("span", {}, rest.join(" · ")));
    this.#place(cell.getBoundingClientRect(), this.#map.getBoundingClientRect());
  }

  #place(seat, map) {
    const { offsetWidth: width, offsetHeight: height } = this.element;
    const wanted = seat.left + seat.width / 2 - map.left - width / 2;
    const left = Math.max(4, Math.min(wanted, map.width - width - 4));
    const above = seat.top - map.top - height - GAP;
    const top = above > 0 ? above : seat.bottom - map.top + GAP;
    this.element.style.setProperty("transform", `translate(${left}px, ${top}px)`);
  }
}

function cellOf({ target }) {
  return target.closest("[data-seat]");
}
