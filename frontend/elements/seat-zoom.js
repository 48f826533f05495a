const DRAWN = 32; // pixels per seat as the style sheet draws the hall
const LEAST = 9; // pixels per seat on the screen
const MOST = 60;
const AMPLE = 40; // more than this helps nobody
const STEP = 1.3;
const BELOW = 60; // pixels for the buttons, so that no seat hides under them for good
const FINGER = { fits: 21, otherwise: 28 };
const MOUSE = { fits: 17, otherwise: 19 };

/**
 * How large the seats are and which part of the hall is in view. The hall is drawn once and scaled
 * as a picture, which costs the same for sixty seats and for thousands. Two fingers or Ctrl and the
 * wheel zoom around their centre; panning is the browser's own scroll.
 */
export class Zoom {
  #view; // the scrolling element
  #frame; // as large as the scaled hall
  #drawing;
  #unit = DRAWN;
  #pinch = null;

  /** `drawing` is what drawHall returns; `frame` holds it inside the scrolling `view`. */
  constructor(view, frame, drawing, signal) {
    this.#view = view;
    this.#frame = frame;
    this.#drawing = drawing;
    const listen = (type, listener) =>
      view.addEventListener(type, listener, { signal, passive: false });
    listen("wheel", (event) => this.#onWheel(event));
    listen("touchstart", (event) => this.#onTouch(event));
    listen("touchmove", (event) => this.#onTouch(event));
    listen("touchend", () => this.#endPinch());
    listen("touchcancel", () => this.#endPinch());
  }

  /** True when seats are too small for a finger, so that a tap had better zoom in. */
  get isOverview() {
    return isCoarse() && this.#unit < 17;
  }

  /** The whole hall in view. */
  fit() {
    this.#set(Math.min(this.#fittingWidth(), this.#fittingHeight()));
    this.#centre();
  }

  /** As much of the hall in view as goes with seats that can be hit: all, or its width, or less. */
  open() {
    const { fits, otherwise } = isCoarse() ? FINGER : MOUSE;
    const width = this.#fittingWidth();
    const whole = Math.min(width, this.#fittingHeight());
    this.#set([whole, width].find((unit) => unit >= fits) ?? otherwise);
    this.#centre();
  }

  by(steps) {
    const { left, top, width, height } = this.#view.getBoundingClientRect();
    this.#around(left + width / 2, top + height / 2, this.#unit * STEP ** steps);
  }

  /** Zooms in on one seat's cell. */
  to(cell) {
    this.#set(FINGER.otherwise + 4);
    cell.scrollIntoView({ block: "center", inline: "center" });
  }

  #fittingWidth() {
    return Math.min(this.#view.clientWidth / this.#drawing.columns, AMPLE);
  }

  /** The view is as high as it likes up to its max-height, or as the phone's layout says. */
  #fittingHeight() {
    const height = parseFloat(getComputedStyle(this.#view).maxHeight) || this.#view.clientHeight;
    return (height - BELOW - 2) / this.#drawing.rows;
  }

  #set(unit) {
    const { hall, gutter, columns, rows } = this.#drawing;
    this.#unit = Math.min(MOST, Math.max(LEAST, unit));
    hall.style.setProperty("transform", `scale(${this.#unit / DRAWN})`);
    gutter.style.setProperty("--u", `${this.#unit}px`);
    this.#frame.style.setProperty("width", `${Math.floor(columns * this.#unit)}px`);
    this.#frame.style.setProperty("height", `${rows * this.#unit + BELOW}px`);
  }

  /** Sets the unit while the point of the hall under (x, y) stays where it is. */
  #around(x, y, unit) {
    const before = this.#frame.getBoundingClientRect();
    const old = this.#unit;
    this.#set(unit);
    const ratio = this.#unit / old;
    const after = this.#frame.getBoundingClientRect();
    this.#view.scrollLeft += after.left + (x - before.left) * ratio - x;
    this.#view.scrollTop += after.top + (y - before.top) * ratio - y;
  }

  #centre() {
    this.#view.scrollLeft = (this.#view.scrollWidth - this.#view.clientWidth) / 2;
  }

  #onWheel(event) {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    this.#around(event.clientX, event.clientY, this.#unit * STEP ** (-event.deltaY / 120));
  }

  #onTouch(event) {
    if (event.touches.length !== 2) return;
    event.preventDefault();
    const [a, b] = event.touches;
    const apart = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
    this.#pinch ??= { apart, unit: this.#unit };
    this.#drawing.hall.toggleAttribute("data-pinched", true);
    const unit = (this.#pinch.unit * apart) / this.#pinch.apart;
    this.#around((a.clientX + b.clientX) / 2, (a.clientY + b.clientY) / 2, unit);
  }

  #endPinch() {
    this.#pinch = null;
    this.#drawing.hall.removeAttribute("data-pinched");
  }
}

function isCoarse() {
  return matchMedia("(pointer: coarse)").matches;
}
