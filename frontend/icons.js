import { svg } from "./view.js";

/** Line icons on a 24-unit square, drawn in the colour of the text around them. */
const PATHS = {
  mark: "M5 4v7a7 7 0 0 0 14 0V4M12 18v3",
  back: "M15 5l-7 7 7 7",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  fit: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  close: "M6 6l12 12M18 6L6 18",
  check: "M5 12.5l4.5 4.5L19 7.5",
  clock: "M12 7v5l3.5 2M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18",
  chevron: "M6 9l6 6 6-6",
  key: "M11.5 12.5l8-8M16 8l3 3M8 11a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9",
  download: "M12 4v11M7 10.5l5 5 5-5M5 20h14",
};

export function icon(name, className = "icon") {
  return svg(
    "svg",
    { class: className, viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: PATHS[name] }),
  );
}
