import { dayKey } from "./times.js";

const MANY = 600; // showtimes read at once

/** What is on: films and showtimes, read once per visit and sifted on the page. */
export class Catalogue {
  #store;
  #api;

  constructor(store, api) {
    this.#store = store;
    this.#api = api;
  }

  async load() {
    try {
      const [movies, showtimes] = await Promise.all([
        this.#api.all("/movies"),
        this.#api.all("/showtimes", MANY),
      ]);
      this.#store.set({
        catalogue: { status: "ready", ...arrange(movies.items, showtimes.items) },
      });
    } catch (problem) {
      const { catalogue } = this.#store.state;
      if (catalogue.status !== "ready")
        this.#store.set({ catalogue: { status: "failed", problem } });
    }
  }
}

function arrange(movies, showtimes) {
  const coming = showtimes
    .filter(({ ends_at }) => Date.parse(ends_at) > Date.now())
    .map((showtime) => ({
      ...showtime,
      day: dayKey(showtime.starts_at, showtime.cinema.time_zone),
    }))
    .sort((a, b) => Date.parse(a.starts_at) - Date.parse(b.starts_at));
  const cities = [...new Set(coming.map(({ cinema }) => cinema.city))].sort();
  return { movies, showtimes: coming, cities };
}

/**
 * Sifts a catalogue by {city, date, movie}, each "" for any. Returns {days, date, films}: the days
 * that have showtimes, the chosen one (the first when none fits), and for each film of that day
 * {movie, cinemas: [{cinema, showtimes}]}.
 */
export function sift({ movies, showtimes }, { city, date, movie }) {
  const fitting = showtimes.filter(
    (showtime) =>
      (!city || showtime.cinema.city === city) && (!movie || showtime.movie.id === movie),
  );
  const days = [...new Set(fitting.map(({ day }) => day))].sort();
  const chosen = days.includes(date) ? date : (days[0] ?? "");
  const ofDay = fitting.filter(({ day }) => day === chosen);
  const films = movies
    .map((film) => ({
      movie: film,
      cinemas: byCinema(ofDay.filter((s) => s.movie.id === film.id)),
    }))
    .filter(({ cinemas }) => cinemas.length);
  return { days, date: chosen, films };
}

function byCinema(showtimes) {
  const cinemas = new Map();
  for (const showtime of showtimes) {
    const { cinema } = showtime;
    if (!cinemas.has(cinema.id)) cinemas.set(cinema.id, { cinema, showtimes: [] });
    cinemas.get(cinema.id).showtimes.push(showtime);
  }
  return [...cinemas.values()];
}
