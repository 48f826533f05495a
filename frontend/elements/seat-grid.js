import { seatLabel } from "../seat-words.js";
import { BLOCKED, BOOKED, CHOSEN } from "../seats.js";
import { h, svg } from "../view.js";

/** Measures in seats: what stands above the first row, from row to row, beside the first seat. */
const ABOVE = 2.8;
const PITCH = 1.12;
const BESIDE = 1.4;
const CURVE = 0.55; // how far the ends of a row come towards the screen
const FLASH = [
  { transform: "scale(1)" },
  { transform: "scale(1.32)", offset: 0.3 },
  { transform: "scale(1)" },
];

/**
 * Draws a hall once, with a fixed size per seat (`--u` in the style sheet). Returns {hall, gutter,
 * cells, columns, rows}: the hall, the row labels that stay in sight beside it, the cells of the
 * seats in layout order, and how many seats wide and high the hall is.
 */
export function drawHall({ seats, width, categories }) {
  const cells = seats.map((seat) => cell(seat, width, categories.indexOf(seat.category)));
  const places = Map.groupBy(seats.keys(), (i) => seats[i].y);
  const names = [...places.values()].map(([first]) => seats[first].row);
  const rows = [...places].map(([y, row]) =>
    rowOf(
      names[y],
      y,
      row.map((i) => cells[i]),
    ),
  );
  const label = "Seat map, the screen is at the top";
  const grid = h(
    "div",
    { class: "grid", role: "grid", "aria-label": label, "aria-rowcount": rows.length },
    rows,
  );
  const word = h("p", { class: "screen-word", "aria-hidden": "true" }, "Screen");
  const vars = { "--columns": width, "--above": ABOVE, "--pitch": PITCH, "--beside": BESIDE };
  return {
    hall: h("div", { class: "hall", vars }, screen(), word, grid),
    gutter: h("div", { class: "gutter", "aria-hidden": "true" }, names.map(gutterLabel)),
    cells,
    columns: width + BESIDE * 2,
    rows: ABOVE + rows.length * PITCH + CURVE,
  };
}

function rowOf(label, y, cells) {
  return h(
    "div",
    { class: "row", role: "row", "aria-rowindex": y + 1, "data-row": label },
    h("span", { class: "unseen", role: "rowheader" }, `Row ${label}`),
    cells,
  );
}

function gutterLabel(label, y) {
  return h("span", { vars: { "--y": (ABOVE + y * PITCH + CURVE * 0.6).toFixed(3) } }, label);
}

function cell({ id, x, place, category, accessible }, width, tier) {
  const fromMiddle = ((x + 0.5) * 2) / width - 1; // -1 to 1
  return h("div", {
    class: "seat",
    role: "gridcell",
    tabindex: "-1",
    "aria-colindex": place + 2, // the row's label is the first column
    "data-seat": id,
    "data-category": category,
    "data-tier": tier,
    "data-accessible": accessible,
    vars: { "--x": x, "--y": (CURVE * (1 - fromMiddle ** 2)).toFixed(3) },
  });
}

/** The silver screen, bent as the rows are. */
function screen() {
  return svg(
    "svg",
    { class: "screen", viewBox: "0 0 400 60", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg(
      "linearGradient",
      { id: "screen-light", x1: 0, y1: 0, x2: 0, y2: 1 },
      svg("stop", { offset: 0.1, class: "near" }),
      svg("stop", { offset: 1, class: "far" }),
    ),
    svg("path", { fill: "url(#screen-light)", d: "M24 5Q200 21 376 5L400 60H0Z" }),
    svg("path", { class: "cloth", d: "M24 5Q200 21 376 5" }),
  );
}

/** Makes a cell show `view`. */
export function mark(cell, seat, view, prices) {
  const { dataset } = cell;
  dataset.state = view.state;
  cell.toggleAttribute("data-mine", view.mine);
  cell.toggleAttribute("data-waiting", view.waiting);
  cell.setAttribute("aria-label", seatLabel(seat, view, prices));
  cell.setAttribute("aria-selected", String(view.mine || view.state === CHOSEN));
  cell.setAttribute("aria-disabled", String(view.state === BOOKED || view.state === BLOCKED));
  cell.setAttribute("aria-busy", String(view.waiting));
}

/** Somebody else changed this seat: a small swell, for eyes that do not mind motion. */
export function flash(cell) {
  cell.animate(FLASH, { duration: 520, easing: "cubic-bezier(.2,.8,.3,1)" });
}
