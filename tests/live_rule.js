// Runs in the page, on the page's own module. Returns what went wrong, a line each.
async () => {
  const { receive, APPLIED, IGNORED, RESUME, RESTART, UNKNOWN } = await import("/static/live-rule.js");
  const wrong = [];
  const index = new Map([["A1", 0], ["A2", 1], ["A3", 2]]);
  const mine = { epoch: "e", seq: 5, states: "..b" };
  const lock = { type: "seat.locked", seats: ["A1"] };
  const events = (prev, seq, list = [lock], epoch = "e") => ({ type: "events", epoch, prev, seq, events: list });
  const snapshot = (epoch, seq) => ({ type: "snapshot", epoch, seq, states: "..." });

  const rule = [
    ["the next change is applied", mine, events(5, 6), APPLIED],
    ["an overlapping change is applied", mine, events(2, 7), APPLIED],
    ["an old change is ignored", mine, events(4, 5), IGNORED],
    ["a gap resumes from here", mine, events(6, 7), RESUME],
    ["another epoch starts over", mine, events(5, 6, [lock], "f"), RESTART],
    ["events before any snapshot start over", null, events(5, 6), RESTART],
    ["a snapshot of another epoch starts over", mine, snapshot("f", 1), RESTART],
    ["a heartbeat at my number is fine", mine, { type: "heartbeat", seq: 5 }, IGNORED],
    ["a heartbeat ahead of me resumes", mine, { type: "heartbeat", seq: 6 }, RESUME],
    ["an unknown frame is named", mine, { type: "surprise" }, UNKNOWN],
  ];
  for (const [name, map, frame, expected] of rule) {
    const { verdict } = receive(map, frame, index);
    if (verdict !== expected) wrong.push(`${name}: ${String(verdict)}`);
  }
  if (receive(mine, events(5, 6), index).map.states !== "l.b") wrong.push("a change is drawn");
  if (receive(mine, snapshot("f", 1), index, true).map.epoch !== "f") wrong.push("a first snapshot is taken");

  // Snapshot + events = the truth, whatever stretches of the history arrive, in whatever overlap.
  let seed = 7;
  const random = (below) => (seed = (seed * 48271) % 2147483647) % below;
  const kinds = { "seat.locked": "l", "seat.released": ".", "seat.booked": "b", "seat.blocked": "x" };
  for (let round = 0; round < 200; round++) {
    const truth = ["..."];
    const history = [];
    for (let i = 0; i < 30; i++) {
      const type = Object.keys(kinds)[random(4)];
      const seat = [...index.keys()][random(3)];
      const states = [...truth[i]];
      states[index.get(seat)] = kinds[type];
      truth.push(states.join(""));
      history.push({ type, seats: [seat] });
    }
    let map = { epoch: "e", seq: 0, states: "..." };
    while (map.seq < 30) {
      const prev = Math.max(0, map.seq - random(4));
      const seq = Math.min(30, prev + random(6));
      const answer = receive(map, events(prev, seq, history.slice(prev, seq)), index);
      map = answer.map ?? map;
      if (map.states !== truth[map.seq]) return [...wrong, `round ${round}: wrong at ${map.seq}`];
    }
  }
  return wrong;
};
