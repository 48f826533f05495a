/** Times as people read them: a cinema's clock is the one on its wall, not the browser's. */

const LANGUAGE = navigator.language?.startsWith("en") ? navigator.language : "en-GB";
const formatters = new Map();

function format(moment, options) {
  const key = JSON.stringify(options);
  if (!formatters.has(key)) formatters.set(key, new Intl.DateTimeFormat(LANGUAGE, options));
  return formatters.get(key).format(new Date(moment));
}

/** "20:15", or "8:15 PM" where people write so */
export function clock(moment, timeZone) {
  return format(moment, { timeStyle: "short", timeZone });
}

/** "Fri, 21 Nov" */
export function day(moment, timeZone) {
  return format(moment, { weekday: "short", day: "numeric", month: "short", timeZone });
}

/** "Friday 21 November" */
export function longDay(moment, timeZone) {
  return format(moment, { weekday: "long", day: "numeric", month: "long", timeZone });
}

/** "21 Nov 2026, 20:15:07" on the reader's own clock. */
export function stamp(moment) {
  return format(moment, { dateStyle: "medium", timeStyle: "medium" });
}

/** "just now", "5 minutes ago", "yesterday"; after a week the day itself. */
export function ago(moment, now = Date.now()) {
  const minutes = Math.round((now - Date.parse(moment)) / 60_000);
  if (minutes < 1) return "just now";
  if (minutes > 7 * 24 * 60) return format(moment, { dateStyle: "medium" });
  const words = new Intl.RelativeTimeFormat(LANGUAGE, { numeric: "auto" });
  if (minutes < 60) return words.format(-minutes, "minute");
  if (minutes < 24 * 60) return words.format(-Math.round(minutes / 60), "hour");
  return words.format(-Math.round(minutes / 60 / 24), "day");
}

/** "2026-11-21": the calendar day on the cinema's wall. */
export function dayKey(moment, timeZone) {
  const parts = new Intl.DateTimeFormat("en-CA", {
    year: "numeric",
    month: "2-digit",
    day: "2-digit",
    timeZone,
  });
  return parts.format(new Date(moment));
}

/** The parts of a day on a calendar leaf: {name: "Today" | "Fri", date: "21", month: "Nov"}. */
export function leaf(key, today) {
  const noon = `${key}T12:00:00Z`;
  const part = (options) => format(noon, { ...options, timeZone: "UTC" });
  return {
    name: key === today ? "Today" : part({ weekday: "short" }),
    date: part({ day: "numeric" }),
    month: part({ month: "short" }),
  };
}

/** "Lisbon time, GMT+1" when the cinema's clock differs from the browser's at that moment, else "". */
export function zoneNote(moment, { city, time_zone: timeZone }) {
  const wall = { dateStyle: "short", timeStyle: "short" };
  if (format(moment, wall) === format(moment, { ...wall, timeZone })) return "";
  const name = { hour: "2-digit", timeZone, timeZoneName: "short" };
  const zone = new Intl.DateTimeFormat(LANGUAGE, name).formatToParts(new Date(moment));
  return `${city} time, ${zone.find((part) => part.type === "timeZoneName").value}`;
}

/** "4:07" for what is left of a span in milliseconds; never less than "0:00". */
export function countdown(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}
