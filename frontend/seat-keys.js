/**
 * The seat that a key leads to from the seat at `from`, as a place in `seats`; undefined for a key
 * that does not move. Left and right stay in the row; up and down go to the nearest seat of the
 * next row, across aisles.
 */
export function seatAfter(seats, from, { key, ctrlKey }) {
  const here = seats[from];
  const row = from - here.place; // where its row begins
  switch (key) {
    case "ArrowLeft":
      return here.place > 0 ? from - 1 : from;
    case "ArrowRight":
      return seats[from + 1]?.y === here.y ? from + 1 : from;
    case "ArrowUp":
      return nearest(seats, here, here.y - 1) ?? from;
    case "ArrowDown":
      return nearest(seats, here, here.y + 1) ?? from;
    case "Home":
      return ctrlKey ? 0 : row;
    case "End":
      return ctrlKey ? seats.length - 1 : seats.findLastIndex(({ y }) => y === here.y);
    default:
      return undefined;
  }
}

function nearest(seats, { x }, y) {
  let best;
  for (let i = 0; i < seats.length; i++) {
    if (seats[i].y !== y) continue;
    if (best === undefined || Math.abs(seats[i].x - x) < Math.abs(seats[best].x - x)) best = i;
  }
  return best;
}
