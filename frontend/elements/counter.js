import { counter as till } from "../app.js";
import { list } from "../seats.js";
import { h } from "../view.js";
import { refusal } from "../wording.js";
import { mailField } from "./field.js";
import { FormView } from "./form.js";
import "./countdown.js";

/** The box office: the seats that were chosen, and for whom they are to be locked. */
class SeatCounter extends FormView {
  static watches = ["counter", "hall"];

  template({ counter }) {
    if (!counter) return null;
    const { seats, done } = counter;
    return [
      h(
        "header",
        { class: "panel-head" },
        h("h2", {}, "For a customer"),
        h(
          "button",
          { class: "button plain", id: "close-counter", onclick: () => till.close() },
          "Done",
        ),
      ),
      done && locked(done),
      h(
        "p",
        { class: seats.length ? "" : "quiet", id: "chosen-seats", "aria-live": "polite" },
        seats.length ? `Chosen: ${list(seats)}` : "Click the seats that the customer wants.",
      ),
      this.form(
        { id: "counter-form", action: "#" },
        this.field(
          mailField({
            id: "customer",
            name: "customer",
            label: "Customer’s mail address",
            autocomplete: "off",
            "data-missing": "Whose seats are they?",
          }),
        ),
        this.submit("Lock for the customer"),
      ),
    ];
  }

  async send({ customer }) {
    if (!this.state.counter.seats.length) throw new NoSeats();
    await till.lock(customer.trim());
  }

  explain(problem) {
    const { hall } = this.state;
    if (problem instanceof NoSeats) return { note: "Choose the seats first." };
    switch (problem.code) {
      case "not_found":
        return { customer: "Nobody with this address has an account here." };
      case "rate_limited":
        return { note: "This customer has held seats for long without buying them." };
      case "seat_limit_reached":
        return { note: "That would be more seats than one customer may hold here." };
    }
    return { note: refusal(problem, (id) => hall.seats[hall.index.get(id)].name) };
  }
}

/** Not the server's word, but told the same way. */
class NoSeats extends Error {
  code = "no_seats";
}

function locked(done) {
  const verb = done.seats.length === 1 ? "is" : "are";
  return h(
    "div",
    { class: "handed", role: "status" },
    h(
      "p",
      {},
      h("b", {}, list(done.seats)),
      ` ${verb} locked for `,
      h("b", {}, done.customer),
      ". They book and pay in their own account.",
    ),
    h("count-down", { props: { time: done } }),
  );
}

customElements.define("seat-counter", SeatCounter);
