import { h } from "../view.js";

/** A whole mail address, as the server takes it. */
export const MAIL = "[^@\\s]{1,64}@[^@\\s]+\\.[^@\\s]+";

/**
 * A labelled input with its `hint` and its `error`, both read out with it. All else that is given
 * are attributes of the input. `id` is unique on the page, `name` in its form.
 */
export function field({ id, label, hint, error, value = "", beside, ...input }) {
  const described = error ? `${id}-error` : hint && `${id}-hint`;
  return h(
    "div",
    { class: "field" },
    h("label", { for: id }, label),
    h(
      "div",
      { class: "input" },
      h("input", {
        id,
        ...input,
        props: { value },
        "aria-invalid": error ? "true" : null,
        "aria-describedby": described,
      }),
      beside,
    ),
    error && h("p", { class: "field-error", id: `${id}-error`, "data-key": "error" }, error),
    hint && !error && h("div", { class: "hint", id: `${id}-hint`, "data-key": "hint" }, hint),
  );
}

export function mailField(given) {
  return {
    label: "Mail address",
    type: "email",
    name: "email",
    autocomplete: "username",
    inputmode: "email",
    autocapitalize: "none",
    spellcheck: "false",
    maxlength: "254",
    pattern: MAIL,
    required: true,
    "data-missing": "Please enter your mail address.",
    ...given,
  };
}

/** The same for a password that can be shown; `autocomplete` tells password managers which one. */
export function passwordField({ isShown, toggle, label, ...given }) {
  const verb = isShown ? "Hide" : "Show";
  return field({
    label,
    type: isShown ? "text" : "password",
    required: true,
    maxlength: "256",
    autocapitalize: "none",
    spellcheck: "false",
    "data-missing": "Please enter the password.",
    ...given,
    beside: h(
      "button",
      {
        type: "button",
        class: "plain reveal",
        "aria-label": `${verb} what you typed`,
        "aria-controls": given.id,
        onclick: toggle,
      },
      verb,
    ),
  });
}

/** What is wrong with an input before anything is sent, in words; "" when nothing is. */
export function complaint(input) {
  const { validity, minLength, value, type } = input;
  if (!validity || input.localName === "button") return "";
  if (validity.valueMissing) return input.dataset.missing ?? "Please fill this in.";
  if (minLength > 0 && [...value].length < minLength) {
    return `Please take ${minLength} characters or more.`;
  }
  if (validity.valid) return "";
  return type === "email" ? "This does not look like a mail address." : "Please check this.";
}
