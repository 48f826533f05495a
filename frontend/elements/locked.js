import { checkout as till, lock as seatLock } from "../app.js";
import { icon } from "../icons.js";
import { money, total } from "../money.js";
import { h } from "../view.js";
import "./countdown.js";

/** The lock panel's content while I hold a lock: its seats, their sum, its time, what I can do. */
export function locked({ hall, lock }) {
  return [
    h(
      "header",
      { class: "panel-head" },
      h("h2", {}, lock.seats.length === 1 ? "Your seat" : `Your ${lock.seats.length} seats`),
      h("count-down", { id: "countdown", props: { time: lock } }),
    ),
    h(
      "ul",
      { class: "chips" },
      lock.seats.map((id) => chip(hall, id)),
    ),
    h(
      "p",
      { class: "sum" },
      h("span", {}, "Total"),
      h("b", { id: "total" }, money(total(lock.seats.map((id) => priceOf(hall, id))))),
    ),
    h(
      "div",
      { class: "actions" },
      h("button", { id: "book", class: "button primary", onclick: () => till.book() }, "Book"),
      h(
        "button",
        {
          id: "extend",
          class: "button",
          disabled: !lock.extensions_left,
          onclick: () => seatLock.extend(),
        },
        `More time (${lock.extensions_left} left)`,
      ),
      h(
        "button",
        { id: "release-all", class: "button plain", onclick: () => seatLock.release(lock.seats) },
        "Release all",
      ),
    ),
  ];
}

function chip(hall, id) {
  const seat = hall.seats[hall.index.get(id)];
  return h(
    "li",
    { "data-key": id, "data-my-seat": id },
    h("b", {}, `${seat.row} ${seat.number}`),
    h("span", { class: "quiet" }, `${seat.category} ${money(hall.prices[seat.category])}`),
    h(
      "button",
      {
        class: "plain",
        "aria-label": `Release ${seat.name}`,
        onclick: () => seatLock.release([id]),
      },
      icon("close"),
    ),
  );
}

function priceOf(hall, id) {
  return hall.prices[hall.seats[hall.index.get(id)].category];
}
