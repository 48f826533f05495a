"""What Stripe's objects look like: every field that the package's types call required."""

import itertools
import time
from typing import Any

Object = dict[str, Any]

_NUMBERS = itertools.count(1)

DECLINES = {
    "pm_card_chargeDeclined": ("card_declined", "generic_decline", "Your card was declined."),
    "pm_card_visa_chargeDeclined": ("card_declined", "generic_decline", "Your card was declined."),
    "pm_card_chargeDeclinedInsufficientFunds": (
        "card_declined",
        "insufficient_funds",
        "Your card has insufficient funds.",
    ),
    "pm_card_chargeDeclinedExpiredCard": ("expired_card", None, "Your card has expired."),
}
"""Test cards -> code, decline_code and message of the error that they end in."""
CARDS = {
    *DECLINES,
    "pm_card_visa",
    "pm_card_mastercard",
    "pm_card_authenticationRequired",  # wants a second step
    "pm_card_pendingRefund",  # its refunds begin as pending
    "pm_card_slow",  # not one of Stripe's: its payments stay `processing`
}


def new_id(prefix: str) -> str:
    return f"{prefix}_{next(_NUMBERS):024d}"


def payment_intent(params: Object) -> Object:
    intent_id = new_id("pi")
    card = params.get("payment_method")
    types = params.get("payment_method_types")
    automatic = None if types else {"allow_redirects": "always", "enabled": True}
    return {
        "id": intent_id,
        "object": "payment_intent",
        "amount": int(params["amount"]),
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": automatic,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic_async",
        "client_secret": f"{intent_id}_secret_{'x' * 25}",
        "confirmation_method": "automatic",
        "created": int(time.time()),
        "currency": params["currency"],
        "customer": None,
        "description": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": params.get("metadata", {}),
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": card,
        "payment_method_configuration_details": None,
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": types or ["card", "link"],
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "requires_confirmation" if card else "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
    }


def refund(intent: Object, amount: int, params: Object) -> Object:
    pending = intent["payment_method"] == "pm_card_pendingRefund"
    return {
        "id": new_id("re"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": None if pending else new_id("txn"),
        "charge": intent["latest_charge"],
        "created": int(time.time()),
        "currency": intent["currency"],
        "customer": None,
        "metadata": params.get("metadata", {}),
        "payment_intent": intent["id"],
        "payment_method": intent["payment_method"],
        "pending_reason": "processing" if pending else None,
        "reason": None,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "pending" if pending else "succeeded",
        "transfer_reversal": None,
    }


def event(kind: str, about: Object, **changes: Any) -> Object:
    """What Stripe says when something happened; `about` as it was then."""
    return {
        "id": new_id("evt"),
        "object": "event",
        "api_version": "2026-08-26.dahlia",
        "created": int(time.time()),
        "data": {"object": dict(about)},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": new_id("req"), "idempotency_key": None},
        "type": kind,
        **changes,
    }


def error(kind: str, message: str, **fields: Any) -> Object:
    found = {name: value for name, value in fields.items() if value is not None}
    if code := found.get("code"):
        found["doc_url"] = f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"
    return {"message": message, "type": kind, **found}
