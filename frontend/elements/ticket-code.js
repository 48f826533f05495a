import { api, toasts } from "../app.js";
import { h } from "../view.js";
import { refusal } from "../wording.js";
import { View } from "./view.js";

const MAIL = /<(\/dev\/mails\/[\w.-]+)>/; // where development shows the mail that was sent

/**
 * What a paid booking takes along: the QR code for the door and an entry for the calendar. Both are
 * fetched with the access token, which no address may hold, and shown from memory.
 */
class TicketCode extends View {
  #state = { status: "loading" };

  start() {
    this.load();
  }

  end() {
    URL.revokeObjectURL(this.#state.calendar);
  }

  async load() {
    const path = `/bookings/${this.dataset.booking}`;
    try {
      const [qr, calendar] = await Promise.all([
        api.file(`${path}/ticket.svg`),
        api.file(`${path}/calendar.ics`),
      ]);
      if (!this.isConnected) return;
      this.#state = {
        status: "ready",
        qr: await dataUrl(qr.blob),
        calendar: URL.createObjectURL(calendar.blob),
        mail: qr.link.match(MAIL)?.[1],
      };
    } catch (problem) {
      this.#state = { status: "failed", problem };
    }
    this.refresh();
  }

  template() {
    const { status, qr, calendar, mail, problem } = this.#state;
    if (status === "loading") return h("p", { class: "quiet", "aria-busy": "true" }, "Your code…");
    if (status === "failed") return failed(problem, () => this.load());
    return [
      h("img", { class: "qr", src: qr, alt: "QR code to show at the door" }),
      h(
        "p",
        { class: "ticket-links" },
        h("a", { href: calendar, download: "showtime.ics" }, "Add to calendar"),
        mail && h("button", { type: "button", class: "as-link", onclick: () => show(mail) }, MAILED),
      ),
    ];
  }
}

const MAILED = "See the mail (development)";

function failed(problem, again) {
  return h(
    "p",
    { role: "alert" },
    `${refusal(problem)} Your seats are yours all the same. `,
    h("button", { type: "button", class: "as-link", onclick: again }, "Try again"),
  );
}

/** The page's policy lets pictures come from data: and from nowhere else. */
function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** Opens the mail in a window of its own; who asks is told by a single-use ticket in the form. */
async function show(address) {
  try {
    const { ticket } = await api.post("/auth/ticket");
    const form = h(
      "form",
      { method: "post", action: address, target: "_blank", hidden: true },
      h("input", { name: "ticket", value: ticket }),
    );
    document.body.append(form);
    form.submit();
    form.remove();
  } catch (problem) {
    toasts.say(refusal(problem), "bad");
  }
}

customElements.define("ticket-code", TicketCode);
