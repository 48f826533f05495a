import { cheapest, money } from "../money.js";
import { poster } from "../poster.js";
import { clock, zoneNote } from "../times.js";
import { h } from "../view.js";

/** A film of a day, with its showtimes cinema by cinema. */
export function film({ movie, cinemas }) {
  const facts = [
    ...movie.genres,
    `${movie.duration_min}\u00a0min`,
    movie.rating && `Rated\u00a0${movie.rating}`,
  ];
  return h(
    "article",
    { class: "film", "data-key": movie.id, "aria-labelledby": `film-${movie.id}` },
    poster(movie),
    h(
      "div",
      { class: "film-words" },
      h("h3", { id: `film-${movie.id}` }, movie.title),
      h("p", { class: "facts" }, facts.filter(Boolean).join(" · ")),
      h("p", { class: "synopsis" }, movie.synopsis),
    ),
    h("div", { class: "venues" }, cinemas.map(venue)),
  );
}

function venue({ cinema, showtimes }) {
  const note = zoneNote(showtimes[0].starts_at, cinema);
  return h(
    "section",
    { class: "venue" },
    h("h4", {}, `${cinema.name}, ${cinema.city}`, note && h("span", { class: "zone" }, note)),
    h(
      "ul",
      { class: "times" },
      showtimes.map((showtime) => h("li", {}, time(showtime))),
    ),
  );
}

function time({ id, starts_at, cinema, auditorium, prices, status }) {
  const from = `from ${money(cheapest(prices))}`;
  return h(
    "a",
    { class: "time", href: `/showtimes/${id}`, "data-showtime": id, "data-status": status },
    h("b", {}, clock(starts_at, cinema.time_zone)),
    h("span", {}, auditorium.name),
    h("span", { class: "quiet" }, from),
  );
}
