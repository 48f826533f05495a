import { store } from "../app.js";
import { keep } from "../memory.js";
import { h } from "../view.js";
import { signInPath } from "../way-back.js";
import { capital } from "../wording.js";
import { View } from "./view.js";

/** What a signed-out person sees after a click on a seat; signing in leads back to that seat. */
class SignInOffer extends View {
  static watches = ["offer"];

  template({ offer, hall }) {
    if (!offer) return null;
    const { name } = hall.seats[hall.index.get(offer)];
    return h(
      "dialog",
      { "aria-labelledby": "offer-title", onclose: close },
      h("h2", { id: "offer-title" }, `${capital(name)} is free`),
      h("p", {}, "Sign in and it can be yours. We bring you right back to this hall."),
      h(
        "div",
        { class: "actions" },
        h(
          "a",
          {
            class: "button primary",
            href: signInPath(),
            onclick: () => keep("wanted", { showtime: hall.id, seat: offer }),
          },
          "Sign in",
        ),
        h("button", { class: "button", onclick: close }, "Not now"),
      ),
    );
  }

  paint(state) {
    super.paint(state);
    const dialog = this.querySelector("dialog");
    if (dialog && !dialog.open) dialog.showModal();
  }
}

function close() {
  store.set({ offer: null });
}

customElements.define("sign-in-offer", SignInOffer);
