import { counter as till, lock as seatLock, store } from "../app.js";
import { isClerk } from "../roles.js";
import { list } from "../seats.js";
import { h } from "../view.js";
import { signInPath } from "../way-back.js";
import { capital } from "../wording.js";
import "./countdown.js";
import "./counter.js";
import { bookingPanel, endedPanel, payingPanel, payPanel } from "./checkout.js";
import { locked } from "./locked.js";
import { bookedPanel } from "./ticket.js";
import { View } from "./view.js";

const LAPSES = {
  expired: "Your time ran out, so the seats went back on sale. Nothing was charged.",
  epoch:
    "The seat store had to start over and your lock was lost with it. We are sorry. Nothing was charged.",
  revoked: "The house has taken these seats back. Nothing was charged.",
  away: "Your lock ended while this page was away. Nothing was charged.",
  booked: "These seats have been sold in the meantime.",
};

/** What is mine, from the first lock to the ticket: beside the hall, or a sheet below it on phones. */
class LockPanel extends View {
  static watches = ["hall", "session", "lock", "checkout", "lapse", "pending", "pause", "counter"];
  #sizes = new ResizeObserver(() => this.#makeRoom());

  start() {
    this.#sizes.observe(this);
  }

  end() {
    this.#sizes.disconnect();
  }

  /** When what had the focus is gone, such as the button just pressed, the panel takes it over. */
  paint(state) {
    const hadFocus = this.contains(document.activeElement);
    super.paint(state);
    if (hadFocus && !this.contains(document.activeElement)) {
      this.querySelector(".panel")?.focus({ preventScroll: true });
    }
  }

  template(state) {
    const { hall, lapse, pause } = state;
    if (hall?.status !== "ready") return null;
    const { phase, content } = contentOf(state);
    return h(
      "section",
      { class: "panel", "data-phase": phase, "aria-label": "My seats", tabindex: "-1" },
      lapse && lapsed(lapse, hall),
      pause && paused(pause),
      content,
      phase === "none" &&
        isClerk(state.session.user) &&
        hall.showtime.status === "open" &&
        atCounter(),
    );
  }

  /** The page leaves as much room below the hall as the sheet covers. */
  #makeRoom() {
    document.documentElement.style.setProperty("--sheet", `${this.offsetHeight}px`);
  }
}

function contentOf(state) {
  const { lock, checkout, lapse, counter } = state;
  if (counter) return { phase: "counter", content: h("seat-counter") };
  switch (checkout?.phase) {
    case "booking":
      return { phase: "booking", content: bookingPanel() };
    case "ready":
      return { phase: "ready", content: payPanel(state) };
    case "paying":
      return { phase: "paying", content: payingPanel(state) };
    case "confirmed":
      return { phase: "confirmed", content: bookedPanel(state) };
    case "ended":
      return { phase: "ended", content: endedPanel(state) };
  }
  if (lock) return { phase: "locked", content: locked(state) };
  return lapse ? { phase: "lapsed", content: null } : { phase: "none", content: welcome(state) };
}

function welcome({ session: { status }, pending }) {
  if (pending.size && status === "in") return h("p", { class: "quiet" }, "Asking for your seat…");
  return [
    h("h2", {}, "Choose your seats"),
    h(
      "p",
      { class: "quiet" },
      status === "out"
        ? "Look around as long as you like. To lock a seat, sign in first."
        : "A click locks a seat for you at once and keeps it for a few minutes. Click it again to let it go.",
    ),
    status === "out" && h("a", { class: "button primary", href: signInPath() }, "Sign in"),
  ];
}

/** Seats were held for long and not bought: the words come from the server, the clock runs here. */
function paused({ reason, ...time }) {
  return h(
    "div",
    { class: "lapse", id: "pause", role: "alert" },
    h("h2", {}, "A short break"),
    h("p", {}, reason, " Meanwhile the seats are there for others."),
    h("p", { class: "wait" }, "You can lock again in ", h("count-down", { props: { time } })),
  );
}

function atCounter() {
  return h(
    "div",
    { class: "at-counter" },
    h(
      "button",
      { class: "button", id: "open-counter", onclick: () => till.open() },
      "Lock for a customer",
    ),
  );
}

function lapsed({ why, seats }, hall) {
  const one = hall.seats[hall.index.get(seats[0])].name;
  return h(
    "div",
    { class: "lapse", role: "alert", id: "lapse", "data-why": why },
    h("h2", {}, seats.length === 1 ? capital(one) : `Seats ${list(seats)}`),
    h("p", {}, LAPSES[why] ?? LAPSES.away),
    h(
      "div",
      { class: "actions" },
      hall.showtime.status === "open" &&
        h(
          "button",
          { id: "relock", class: "button primary", onclick: () => seatLock.lock(seats) },
          "Lock them again",
        ),
      h(
        "button",
        { class: "button plain", onclick: () => store.set({ lapse: null }) },
        "Never mind",
      ),
    ),
  );
}

customElements.define("lock-panel", LockPanel);
