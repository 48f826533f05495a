import { h } from "../view.js";

const MIN_LENGTH = 12; // as server/auth/password_rules.py has it

const WEAK = {
  too_short: `Please take ${MIN_LENGTH} characters or more.`,
  common:
    "Many people use this one, or one like it. A few words that do not belong together are better.",
  personal:
    "This one is made of your own name or address. Take something that nobody would link with you.",
};

/** What a field for a new password needs, with a calm word on its length so far. */
export function newPassword(typed = "") {
  return {
    autocomplete: "new-password",
    minlength: String(MIN_LENGTH),
    hint: lengthHint([...typed].length),
    "data-missing": "Please choose a password.",
  };
}

/** Why the server did not take a new password. */
export function weakness({ fields, message }) {
  return WEAK[fields.reason] ?? message;
}

function lengthHint(length) {
  return [
    h("span", {
      class: "length",
      "aria-hidden": "true",
      "data-enough": length >= MIN_LENGTH,
      vars: { "--part": Math.min(1, length / MIN_LENGTH).toFixed(2) },
    }),
    h("span", {}, lengthWords(length)),
  ];
}

function lengthWords(length) {
  if (!length) return `${MIN_LENGTH} characters or more; a few unrelated words do well.`;
  const missing = MIN_LENGTH - length;
  return missing > 0 ? `${missing} more to go.` : "Long enough.";
}
