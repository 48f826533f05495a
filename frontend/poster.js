import { h, svg } from "./view.js";

/**
 * Posters drawn from a film's accent colour. The film's id picks one of a few compositions and
 * seeds it, so each film has a poster of its own that is the same everywhere. Tones t1 (deep) to
 * t5 (pale) are mixed from the accent in the style sheet.
 */

const WIDTH = 200;
const HEIGHT = 300;
const HEX = /^#([0-9a-f]{3}|[0-9a-f]{6})$/i;
const COMPOSITIONS = [tide, beams, orbits, ridges, ripples, skyline];

export function poster({ id, title, accent }, className = "") {
  const random = seeded(id);
  const compose = COMPOSITIONS[Math.floor(random() * COMPOSITIONS.length)];
  const picture = svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "xMidYMid slice" },
    svg("rect", { class: "t1", width: WIDTH, height: HEIGHT }),
    compose(random),
  );
  return h(
    "div",
    { class: `poster ${className}`, "aria-hidden": "true", vars: accentOf(accent) },
    picture,
    h("span", { class: "poster-title" }, title),
  );
}

/** The accent as a style variable; anything that is no hex colour is left to the style sheet. */
export function accentOf(accent) {
  return HEX.test(accent ?? "") ? { "--accent": accent } : {};
}

function tide(random) {
  const horizon = 120 + random() * 40;
  const sun = circle(60 + random() * 80, horizon - 10 - random() * 30, 34 + random() * 18, "t5");
  const waves = [0, 1, 2, 3].map((i) =>
    wave(horizon + i * 42, 9 + i * 3, random() * 6, `t${4 - i}`),
  );
  return [sun, ...waves];
}

function wave(y, height, phase, tone) {
  const points = Array.from({ length: 21 }, (_, i) => {
    const x = i * (WIDTH / 20);
    return `${x} ${(y + Math.sin(i * 0.62 + phase) * height).toFixed(1)}`;
  });
  return path(`M0 ${HEIGHT}L${points.join("L")}L${WIDTH} ${HEIGHT}Z`, tone);
}

function beams(random) {
  const [x, y] = [20 + random() * 160, 30 + random() * 30];
  const rays = Array.from({ length: 5 }, (_, i) => {
    const left = -140 + i * 105 + random() * 30;
    return path(
      `M${x} ${y}L${left} ${HEIGHT}L${left + 46 + random() * 22} ${HEIGHT}Z`,
      `t${2 + (i % 3)}`,
    );
  });
  return [...rays, circle(x, y, 15, "t5")];
}

function orbits(random) {
  const [x, y] = [70 + random() * 60, 105 + random() * 40];
  const tilt = -40 + random() * 80;
  const rings = [52, 84, 122].map((radius) =>
    svg("ellipse", {
      class: "t4 line",
      cx: x,
      cy: y,
      rx: radius,
      ry: radius * 0.42,
      transform: `rotate(${tilt} ${x} ${y})`,
    }),
  );
  const moons = [66, 118].map((r) => {
    const angle = random() * 6.3;
    return circle(x + Math.cos(angle) * r, y + Math.sin(angle) * r * 0.6, 5 + random() * 6, "t5");
  });
  return [
    circle(x, y, 36, "t3"),
    path(`M${x - 36} ${y}a36 36 0 0 0 72 0Z`, "t4"),
    ...rings,
    ...moons,
  ];
}

function ridges(random) {
  const layers = [0, 1, 2, 3].map((i) => {
    const base = 110 + i * 45;
    const peaks = Array.from(
      { length: 7 },
      (_, p) => `${p * 34 - 2} ${base + (random() - 0.5) * 58}`,
    );
    return path(`M-4 ${HEIGHT}L${peaks.join("L")}L${WIDTH + 4} ${HEIGHT}Z`, `t${4 - i}`);
  });
  return [circle(40 + random() * 120, 60 + random() * 20, 22, "t5"), ...layers];
}

function ripples(random) {
  const [x, y] = [random() > 0.5 ? 20 : 180, 60 + random() * 120];
  return [210, 170, 132, 96, 62, 32].map((radius, i) =>
    circle(x, y, radius, `t${[2, 3, 2, 4, 3, 5][i]}`),
  );
}

function skyline(random) {
  const towers = Array.from({ length: 9 }, (_, i) => {
    const height = 70 + random() * 130;
    const box = { x: i * 23 - 4, y: HEIGHT - height, width: 25, height };
    return svg("rect", { class: `t${2 + Math.floor(random() * 3)}`, ...box });
  });
  return [circle(50 + random() * 100, 80, 40, "t5"), ...towers];
}

function circle(cx, cy, r, tone) {
  return svg("circle", { class: tone, cx, cy, r });
}

function path(d, tone) {
  return svg("path", { class: tone, d });
}

/** A small generator of numbers in [0, 1): FNV-1a over the text, then mulberry32. */
function seeded(text) {
  let state = 0x811c9dc5;
  for (const character of text) state = Math.imul(state ^ character.charCodeAt(0), 0x01000193);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
