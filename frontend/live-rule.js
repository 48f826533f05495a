/**
 * The client rule of the live seat map, as a pure function. No sockets and no clocks here.
 *
 * A map is {epoch, seq, states}: `states` has one character per seat in layout order, and
 * (epoch, seq) is the position in the stream that it stands for.
 */

export const APPLIED = "applied";
export const IGNORED = "ignored";
export const RESUME = "resume"; // reconnect, from my position
export const RESTART = "restart"; // reconnect, without a position
export const UNKNOWN = "unknown";

const CHARACTER = Object.freeze({
  "seat.locked": "l",
  "seat.released": ".",
  "seat.booked": "b",
  "seat.blocked": "x",
});

/**
 * Returns {verdict, map} for one frame. `index` maps a seat id to its place in `states`; `first`
 * says that it is the first frame of its connection, the only one that may open a new epoch.
 */
export function receive(map, frame, index, first = false) {
  switch (frame.type) {
    case "snapshot":
      return onSnapshot(map, frame, first);
    case "events":
      return onEvents(map, frame, index);
    case "heartbeat":
      return { verdict: map && frame.seq > map.seq ? RESUME : IGNORED, map };
    default:
      return { verdict: UNKNOWN, map };
  }
}

function onSnapshot(map, { epoch, seq, states }, first) {
  const fresh = { verdict: APPLIED, map: { epoch, seq, states } };
  if (!map) return fresh;
  if (map.epoch !== epoch) return first ? fresh : { verdict: RESTART, map };
  return seq <= map.seq ? { verdict: IGNORED, map } : fresh;
}

function onEvents(map, { epoch, prev, seq, events }, index) {
  if (!map || map.epoch !== epoch) return { verdict: RESTART, map };
  if (seq <= map.seq) return { verdict: IGNORED, map };
  if (prev > map.seq) return { verdict: RESUME, map };
  return { verdict: APPLIED, map: { epoch, seq, states: fold(map.states, events, index) } };
}

/** The states after `events`. Values are absolute, so folding one twice does no harm. */
export function fold(states, events, index) {
  const characters = [...states];
  for (const event of events) {
    const character = CHARACTER[event.type];
    if (!character) {
      console.error("live: unknown event type", event.type);
      continue;
    }
    for (const seat of event.seats) {
      const place = index.get(seat);
      if (place === undefined) console.error("live: unknown seat", seat);
      else characters[place] = character;
    }
  }
  return characters.join("");
}
