import { svg } from "./view.js";

const COLUMNS = 15;
const ROWS = 4;
const STEP = 34;
const TAKEN = new Set([4, 5, 18, 22, 23, 24, 37, 41, 42, 56]);

/** The house's ornament: rows of rowlocks bent around a screen, a few of them taken. */
export function frieze() {
  const seats = Array.from({ length: COLUMNS * ROWS }, (_, i) => seat(i));
  const viewBox = `0 0 ${COLUMNS * STEP} ${ROWS * STEP + 40}`;
  return svg("svg", { class: "frieze", viewBox, "aria-hidden": "true" }, seats);
}

function seat(i) {
  const column = i % COLUMNS;
  const fromMiddle = (column * 2) / (COLUMNS - 1) - 1;
  const x = column * STEP + 6;
  const y = Math.floor(i / COLUMNS) * STEP + 28 * (1 - fromMiddle ** 2) + 6;
  const d = `M${x} ${y.toFixed(1)}v9a10.5 10.5 0 0 0 21 0v-9`;
  return svg("path", { class: TAKEN.has(i) ? "taken" : null, d });
}
