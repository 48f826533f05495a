import { lock } from "../app.js";
import { icon } from "../icons.js";
import { forget, kept } from "../memory.js";
import { seatAfter } from "../seat-keys.js";
import { h } from "../view.js";
import { drawHall, flash, mark } from "./seat-grid.js";
import { SeatTip } from "./seat-tip.js";
import { Zoom } from "./seat-zoom.js";
import { View } from "./view.js";

const CROWD = 60; // more changes at once than this are not animated one by one
const still = matchMedia("(prefers-reduced-motion: reduce)");

/**
 * The hall, drawn from its layout and kept as the store's `views` say. An ARIA grid with one stop
 * in the tab order: arrow keys walk, Enter or Space toggles. Each cell carries `data-seat` and
 * `data-state`.
 */
class SeatMap extends View {
  static watches = ["hall", "views"];
  #hall = null;
  #cells = [];
  #views = [];
  #stop = 0; // the seat that Tab leads to
  #zoom = null;
  #tip = null;
  #signal;

  start(signal) {
    this.#signal = signal;
    this.addEventListener("click", (event) => this.#onClick(event), { signal });
    this.addEventListener("keydown", (event) => this.#onKey(event), { signal });
    this.addEventListener("focusin", (event) => this.#moveStop(this.#placeOf(event)), { signal });
  }

  paint({ hall, views }) {
    if (hall?.status !== "ready") return;
    if (hall !== this.#hall) this.#build(hall);
    this.#update(views);
  }

  #build(hall) {
    const drawn = drawHall(hall);
    this.#hall = hall;
    this.#cells = drawn.cells;
    this.#views = [];
    const frame = h("div", { class: "hall-frame" }, drawn.gutter, drawn.hall);
    const scroller = h("div", { class: "hall-view" }, frame);
    this.#tip = new SeatTip(this, this.#signal);
    this.replaceChildren(scroller, this.#controls(), this.#tip.element);
    this.#zoom = new Zoom(scroller, frame, drawn, this.#signal);
    this.#zoom.open();
    this.#moveStop(0);
  }

  #update(views) {
    const isFirst = !this.#views.length;
    const changed = [...views.keys()].filter((i) => !same(views[i], this.#views[i]));
    const byOthers = changed.filter((i) => !isMine(views[i]) && !isMine(this.#views[i]));
    for (const i of changed) mark(this.#cells[i], this.#hall.seats[i], views[i], this.#hall.prices);
    this.#views = views;
    this.#tip.refresh();
    if (isFirst) this.#welcomeBack(this.#hall);
    if (isFirst || still.matches || byOthers.length > CROWD) return;
    for (const i of byOthers) flash(this.#cells[i]);
  }

  #controls() {
    const button = (name, label, onclick) =>
      h("button", { class: "round", "aria-label": label, title: label, onclick }, icon(name));
    return h(
      "div",
      { class: "zoom", role: "group", "aria-label": "Zoom" },
      button("plus", "Zoom in", () => this.#zoom.by(1)),
      button("minus", "Zoom out", () => this.#zoom.by(-1)),
      button("fit", "Show the whole hall", () => this.#zoom.fit()),
    );
  }

  /** Back from the sign-in page: point at the seat that was wanted then. */
  #welcomeBack({ id, index }) {
    const wanted = kept("wanted");
    if (wanted?.showtime !== id || !index.has(wanted.seat)) return;
    forget("wanted");
    const cell = this.#cells[index.get(wanted.seat)];
    cell.scrollIntoView({ block: "nearest", inline: "center" });
    cell.focus({ preventScroll: true });
    if (!still.matches) flash(cell);
  }

  #onClick(event) {
    const place = this.#placeOf(event);
    if (place === undefined) return;
    if (this.#zoom.isOverview) return this.#zoom.to(this.#cells[place]);
    lock.toggle(this.#hall.seats[place].id);
  }

  #onKey(event) {
    const place = this.#placeOf(event);
    if (place === undefined || event.altKey || event.metaKey) return;
    const next = seatAfter(this.#hall.seats, place, event);
    if (next !== undefined) this.#cells[next].focus();
    else if (event.key === "Enter" || event.key === " ") lock.toggle(this.#hall.seats[place].id);
    else return;
    event.preventDefault();
  }

  #moveStop(place) {
    if (place === undefined) return;
    this.#cells[this.#stop]?.setAttribute("tabindex", "-1");
    this.#cells[place].setAttribute("tabindex", "0");
    this.#stop = place;
  }

  #placeOf({ target }) {
    const cell = target.closest("[data-seat]");
    return cell ? this.#hall.index.get(cell.dataset.seat) : undefined;
  }
}

function same(a, b) {
  return b && a.state === b.state && a.mine === b.mine && a.waiting === b.waiting;
}

function isMine(view) {
  return Boolean(view?.mine || view?.waiting);
}

customElements.define("seat-map", SeatMap);
