import { icon } from "../icons.js";
import { h } from "../view.js";
import { STATUS } from "./booking-card.js";
import { choice, search } from "./house.js";

/**
 * What narrows the list of all bookings, and the way to take it along. `filters` is {movie, cinema,
 * date, user, status}, "" for any; `typed`: the customer as it stands in the box; `choose` takes what
 * changes; `note`: why saving was refused.
 */
export function bookingFilters({ movies = [], showtimes = [] }, filters, todo) {
  const cinemas = new Map(showtimes.map(({ cinema }) => [cinema.id, cinema]));
  const pick = (name, given) => ({
    id: `booking-${name}`,
    chosen: filters[name],
    onchange: ({ target }) => todo.choose({ [name]: target.value }),
    ...given,
  });
  const onsubmit = (event) => {
    event.preventDefault();
    todo.choose({ user: event.currentTarget.querySelector("#booking-user").value.trim() });
  };
  return h(
    "form",
    { class: "filters", role: "search", method: "post", onsubmit },
    choice(
      pick("movie", {
        label: "Film",
        any: "All films",
        options: movies.map(({ id, title }) => [id, title]),
      }),
    ),
    choice(
      pick("cinema", {
        label: "Cinema",
        any: "All cinemas",
        options: [...cinemas.values()].map(({ id, name, city }) => [id, `${name}, ${city}`]),
      }),
    ),
    search({
      id: "booking-date",
      label: "Day",
      value: filters.date,
      type: "date",
      onchange: ({ target }) => todo.choose({ date: target.value }),
    }),
    choice(pick("status", { label: "Status", any: "All", options: Object.entries(STATUS) })),
    search({
      id: "booking-user",
      label: "Customer",
      value: todo.typed ?? filters.user,
      type: "search",
      autocomplete: "off",
      autocapitalize: "none",
      spellcheck: "false",
      placeholder: "whole mail address",
    }),
    h("button", { class: "button" }, "Search"),
    h(
      "button",
      {
        class: "button",
        type: "button",
        id: "save-csv",
        "aria-busy": String(todo.isSaving),
        onclick: todo.save,
      },
      icon("download"),
      "Download CSV",
    ),
    h("div", { role: "alert" }, todo.note && h("p", { class: "note" }, todo.note)),
  );
}
