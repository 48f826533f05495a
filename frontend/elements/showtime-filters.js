import { dayKey, leaf } from "../times.js";
import { h } from "../view.js";

/**
 * City, film and day. `chosen` is {city, date, movie}, "" for any; `days` are those with showtimes;
 * `choose` takes what changes.
 */
export function showtimeFilters({ cities, movies }, chosen, days, choose) {
  const today = dayKey(Date.now());
  return h(
    "div",
    { class: "filters", role: "group", "aria-label": "Filter showtimes" },
    h(
      "div",
      { class: "choices", role: "group", "aria-label": "City" },
      ["", ...cities].map((city) =>
        choice(chosen.city === city, city || "All cities", () => choose({ city }), {
          "data-city": city,
        }),
      ),
    ),
    h(
      "label",
      { class: "select" },
      h("span", { class: "unseen" }, "Film"),
      h(
        "select",
        { id: "film", onchange: ({ target }) => choose({ movie: target.value }) },
        h("option", { value: "" }, "All films"),
        movies.map(({ id, title }) =>
          h("option", { value: id, selected: id === chosen.movie }, title),
        ),
      ),
    ),
    h(
      "div",
      { class: "days", role: "group", "aria-label": "Day" },
      days.map((key) => {
        const { name, date, month } = leaf(key, today);
        const words = [h("span", {}, name), h("b", {}, date), h("span", {}, month)];
        return choice(key === chosen.date, words, () => choose({ date: key }), {
          "data-date": key,
        });
      }),
    ),
  );
}

function choice(isChosen, words, onclick, data) {
  return h(
    "button",
    { class: "choice", "aria-pressed": String(isChosen), onclick, ...data },
    words,
  );
}
