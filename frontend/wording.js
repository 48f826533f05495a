import { countdown } from "./times.js";

/** What the page says when something was refused: the reason, and what helps. */

const WORDS = {
  unreachable: () => "No answer came. Check your connection; nothing is lost yet.",
  unauthenticated: () => "Your sign-in has ended. Sign in again to go on.",
  forbidden: () => "This part of the house is for the people who run it.",
  not_found: () => "This is not here any more.",
  lock_expired: () => "The time on these seats had run out.",
  showtime_closed: () => "Sales for this showtime have ended.",
  extension_limit_reached: () => "This lock has had all its extensions.",
  payment_declined: () => "The payment was declined. Nothing was charged.",
  booking_state: () => "This booking has moved on in the meantime.",
  seat_limit_reached: ({ fields }) =>
    `That would be more than the ${fields.limit ?? "number of"} seats one person may hold here.`,
  seats_unavailable: ({ fields }, nameOf) => taken(fields.unavailable ?? [], nameOf),
  invalid_request: () => "Something in this does not look right. Please check it.",
  last_admin: () => "This is the last administrator. Make somebody else one first.",
  email_unverified: () =>
    "Nobody has proven to own this mail address yet. They can link Google to do so; then give the role.",
  no_password: () => "This account has no password; it signs in with Google.",
  rate_limited: ({ retryAfter }) => `That was quick. Give it ${seconds(retryAfter)} and try again.`,
  store_unavailable: ({ retryAfter }) =>
    `Our seat store is catching its breath. Try again in ${seconds(retryAfter)}.`,
  idempotency_in_progress: () => "Your first request is still on its way. Give it a moment.",
};

/** `nameOf` turns a seat id into "row A seat 1". */
export function refusal(problem, nameOf = (seat) => seat) {
  const words = WORDS[problem.code];
  if (words) return words(problem, nameOf);
  return problem.status >= 500 ? "Something broke on our side. Try again." : problem.message;
}

function taken(unavailable, nameOf) {
  const reasons = unavailable.map(({ seat, state, retry_in_ms: left }) => {
    if (state === "booked") return `${nameOf(seat)} has been sold`;
    if (state !== "locked") return `${nameOf(seat)} is not for sale`;
    const time = left > 0 ? ` for up to ${countdown(left)}` : "";
    return `somebody else is holding ${nameOf(seat)}${time}`;
  });
  return `${capital(reasons.join("; ") || "these seats have just been taken")}.`;
}

export function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function seconds(count) {
  const whole = Math.max(1, Math.ceil(count));
  if (whole > 90) return `${Math.ceil(whole / 60)} minutes`;
  return whole === 1 ? "a second" : `${whole} seconds`;
}

const SIGN_IN = {
  access_denied: "You turned back at the sign-in page. You are welcome to try again.",
  state_invalid: "That sign-in took too long or began in another window. Please start again.",
  provider_refused: "The sign-in service said no this time. Please start again.",
  provider_unavailable: "The sign-in service does not answer right now. Please try again shortly.",
  identity_invalid: "The sign-in service could not vouch for you. Please start again.",
  issuer_invalid: "Another sign-in service answered than the one we asked. Please start again.",
  domain_not_allowed:
    "Only accounts of one organisation may sign in here. Please choose another account.",
  account_blocked: "This account is blocked. Please ask the box office why.",
  store_unavailable: "We could not finish the sign-in just now. Please try again shortly.",
  too_often: "There were many sign-ins from your network just now. Please try again in a minute.",
  session_ended: "You were signed out before the accounts could be linked. Please sign in again.",
  email_unverified:
    "The sign-in service has not verified that mail address yet. Confirm it there, then link again.",
  email_mismatch:
    "That identity has another mail address than this account. Nothing was linked; choose the one with the same address.",
  identity_taken: "That identity belongs to another account already. Nothing was linked.",
  already_linked: "This account is linked with another identity already. Nothing has changed.",
};

/** Why a sign-in came back with `?auth_error=`. */
export function signInRefusal(code) {
  return (
    SIGN_IN[code] ?? "The sign-in did not work this time. Nothing has changed; please try again."
  );
}
