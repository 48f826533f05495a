"""An account at Stripe: what can be done to payment intents and refunds, and what is refused."""

import re
import time
from dataclasses import dataclass, field

from tests.stripe_objects import CARDS, DECLINES, Object, error, event, new_id, payment_intent
from tests.stripe_objects import refund as refund_of

OPEN = ("requires_payment_method", "requires_capture", "requires_confirmation", "requires_action")


@dataclass
class Refusal(Exception):
    """An error answer. One that was not `begun` is not kept for its idempotency key."""

    status: int
    error: Object
    begun: bool = True


@dataclass
class StripeAccount:
    """Each act takes the parameters of a request and the intent that its address names."""

    intents: dict[str, Object] = field(default_factory=dict)
    refunds: dict[str, Object] = field(default_factory=dict)
    events: list[Object] = field(default_factory=list)

    def create(self, params: Object, _: str) -> Object:
        allowed(params, "amount", "currency", "metadata", "payment_method", "payment_method_types")
        for name in ("amount", "currency"):
            if name not in params:
                raise invalid(f"Missing required param: {name}.", "parameter_missing", name)
        if not re.fullmatch(r"[1-9]\d*", params["amount"]):
            raise invalid("Invalid positive integer", "parameter_invalid_integer", "amount")
        if not re.fullmatch(r"[a-z]{3}", params["currency"]):
            raise invalid(f"Invalid currency: {params['currency']}.", None, "currency")
        if int(params["amount"]) < 50:
            raise invalid("Amount must be at least €0.50 eur", "amount_too_small", "amount")
        card = params.get("payment_method")
        if card is not None and card not in CARDS:
            raise missing("PaymentMethod", card, "payment_method")
        intent = payment_intent(params)
        self.intents[intent["id"]] = intent
        self._tell("payment_intent.created", intent)
        return intent

    def retrieve(self, _: Object, intent_id: str) -> Object:
        return self._intent(intent_id)

    def confirm(self, params: Object, intent_id: str) -> Object:
        allowed(params, "error_on_requires_action")
        intent, card = self._intent(intent_id), self._intent(intent_id)["payment_method"]
        strict = params.get("error_on_requires_action") == "true"
        if strict and intent["automatic_payment_methods"]:
            raise invalid("error_on_requires_action needs payment_method_types", None, None)
        if intent["status"] not in ("requires_confirmation", "requires_action") or not card:
            raise unexpected("confirm", intent)
        if card in DECLINES:
            raise self._decline(intent, card)
        if card == "pm_card_authenticationRequired":
            if strict:
                raise self._decline(intent, card)
            intent["status"] = "requires_action"
        elif card == "pm_card_slow":
            intent["status"] = "processing"
            self._tell("payment_intent.processing", intent)
        else:
            self._succeed(intent)
        return intent

    def cancel(self, params: Object, intent_id: str) -> Object:
        allowed(params, "cancellation_reason")
        reason = params.get("cancellation_reason")
        if reason not in (None, "abandoned", "duplicate", "fraudulent", "requested_by_customer"):
            raise invalid("Invalid cancellation_reason", None, "cancellation_reason")
        intent = self._intent(intent_id)
        if intent["status"] not in OPEN:
            raise unexpected("cancel", intent)
        intent |= {
            "status": "canceled",
            "cancellation_reason": reason,
            "canceled_at": int(time.time()),
        }
        self._tell("payment_intent.canceled", intent)
        return intent

    def refund(self, params: Object, _: str) -> Object:
        allowed(params, "amount", "metadata", "payment_intent")
        intent_id = params.get("payment_intent", "")
        intent = self.intents.get(intent_id)
        if intent is None:
            raise missing("payment_intent", intent_id, "payment_intent")
        left = self.kept(intent_id)
        if not re.fullmatch(r"[1-9]\d*", params.get("amount", str(left))):
            raise invalid("Invalid positive integer", "parameter_invalid_integer", "amount")
        amount = int(params.get("amount", left))
        if intent["status"] != "succeeded":
            raise invalid("This PaymentIntent has no successful charge", None, "payment_intent")
        if not left:
            code = "charge_already_refunded"
            raise invalid(f"Charge {intent['latest_charge']} has already been refunded.", code)
        if amount > left:
            raise invalid("Refund amount is greater than unrefunded amount", None, "amount")
        made = refund_of(intent, amount, params)
        self.refunds[made["id"]] = made
        self._tell("refund.created", made)
        return made

    def list_refunds(self, params: Object, _: str) -> Object:
        allowed(params, "limit", "payment_intent", "starting_after")
        intent_id = params.get("payment_intent", "")
        if intent_id not in self.intents:
            raise missing("payment_intent", intent_id, "payment_intent")
        found = [r for r in reversed(self.refunds.values()) if r["payment_intent"] == intent_id]
        if after := params.get("starting_after"):
            found = found[[r["id"] for r in found].index(after) + 1 :]
        limit = int(params.get("limit", 10))
        return {
            "object": "list",
            "data": found[:limit],
            "has_more": len(found) > limit,
            "url": "/v1/refunds",
        }

    def _intent(self, intent_id: str) -> Object:
        if intent_id not in self.intents:
            raise missing("payment_intent", intent_id, "intent", status=404)
        return self.intents[intent_id]

    def _succeed(self, intent: Object) -> None:
        intent |= {
            "status": "succeeded",
            "amount_received": intent["amount"],
            "latest_charge": new_id("ch"),
        }
        self._tell("payment_intent.succeeded", intent)

    def _decline(self, intent: Object, card: str) -> Refusal:
        """A declined card leaves the intent open for another one."""
        code, decline_code, message = DECLINES.get(
            card,
            ("authentication_required", "authentication_not_handled", "It requires authentication"),
        )
        why = error(
            "card_error", message, code=code, decline_code=decline_code, charge=new_id("ch")
        )
        intent |= {
            "status": "requires_payment_method",
            "payment_method": None,
            "last_payment_error": {**why, "source": None},
        }
        self._tell("payment_intent.payment_failed", intent)
        return Refusal(402, {**why, "payment_intent": dict(intent)})

    def _given_back(self, intent_id: str) -> int:
        return sum(
            made["amount"]
            for made in self.refunds.values()
            if made["payment_intent"] == intent_id and made["status"] not in ("failed", "canceled")
        )

    def _tell(self, kind: str, about: Object) -> None:
        self.events.append(event(kind, about))

    def finish(self, intent_id: str, *, succeeded: bool) -> None:
        """End a payment that was processing."""
        intent = self.intents[intent_id]
        assert intent["status"] == "processing"
        if succeeded:
            self._succeed(intent)
        else:
            self._decline(intent, "pm_card_chargeDeclined")

    def kept(self, intent_id: str) -> int:
        """Captured minus given back, in minor units."""
        return self.intents[intent_id]["amount_received"] - self._given_back(intent_id)


def invalid(message: str, code: str | None = None, param: str | None = None) -> Refusal:
    why = error("invalid_request_error", message, code=code, param=param)
    return Refusal(400, why, begun=False)


def missing(noun: str, name: str, param: str, status: int = 400) -> Refusal:
    text = f"No such {noun}: '{name}'"
    why = error("invalid_request_error", text, code="resource_missing", param=param)
    return Refusal(status, why, begun=False)


def unexpected(verb: str, intent: Object) -> Refusal:
    text = f"You cannot {verb} this PaymentIntent because it has a status of {intent['status']}."
    code = "payment_intent_unexpected_state"
    why = error("invalid_request_error", text, code=code, payment_intent=dict(intent))
    return Refusal(400, why)


def allowed(params: Object, *names: str) -> None:
    for name in params.keys() - set(names):
        raise invalid(f"Received unknown parameter: {name}", "parameter_unknown", name)
