"""The demo payment provider: no money, but a ledger and all the ways a payment can go."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from server.models import Money
from server.payments import Outcome, PaymentImpossible, PaymentUnknown
from server.repo.demo_payments import DemoPaymentRepo, ProviderAway

METHODS = {
    "demo:approve": "captured",
    "demo:decline": "declined",
    "demo:timeout": "captured, and the answer is lost",
    "demo:slow": "captured after SLOW_SECONDS",
    "demo:error": "nothing happens, and the answer is an error that does not say so",
    "demo:late": "no answer, and captured LATE_SECONDS later unless it is cancelled before",
    "demo:outage": "no call about it is answered for OUTAGE_SECONDS from then on",
}
"""What `confirm` brings about, by payment method."""

SLOW_SECONDS = 3.0
LATE_SECONDS = 5.0
OUTAGE_SECONDS = 120.0


class DemoProvider:
    """Implements server.payments.PaymentProvider. An intent's id is its key."""

    def __init__(self, ledger: DemoPaymentRepo) -> None:
        self._ledger = ledger

    def accepts(self, method: str) -> bool:
        return method in METHODS

    async def create_intent(self, key: str, amount: Money, method: str) -> str:
        with _answered():
            if not await self._ledger.create(key, amount, method):
                raise PaymentImpossible(f"{key} was opened for another payment")
        return key

    async def confirm(self, intent_id: str) -> Outcome:
        with _answered():
            row = await self._ledger.get(intent_id)
            return _outcome_of(row) or await self._confirm(intent_id, row["method"])

    async def cancel(self, intent_id: str) -> Outcome:
        with _answered():
            return await self._ledger.settle(intent_id, "cancelled")

    async def get(self, intent_id: str) -> Outcome | None:
        with _answered():
            return _outcome_of(await self._ledger.get(intent_id))

    async def refund(self, intent_id: str, key: str, amount: Money) -> None:
        with _answered():
            if not await self._ledger.refund(intent_id, key, amount):
                raise PaymentImpossible(f"{key}: not captured, or not so much is left of it")

    async def _confirm(self, intent_id: str, method: str) -> Outcome:
        if method == "demo:error":
            raise PaymentUnknown("the demo provider failed on purpose")
        if method == "demo:late":
            await self._ledger.capture_in(intent_id, LATE_SECONDS)
            raise PaymentUnknown("the demo provider captures later on purpose")
        if method == "demo:outage":
            await self._ledger.go_away(intent_id, OUTAGE_SECONDS)
        if method == "demo:slow":
            await asyncio.sleep(SLOW_SECONDS)
        declined = method == "demo:decline"
        outcome = await self._ledger.settle(intent_id, "declined" if declined else "captured")
        if method == "demo:timeout":
            raise PaymentUnknown("the demo provider lost its answer on purpose")
        return outcome


def _outcome_of(row: dict[str, Any]) -> Outcome | None:
    status: Outcome | Literal["created"] = row["status"]
    return None if status == "created" else status


@contextmanager
def _answered() -> Iterator[None]:
    """Turn what the ledger raises into the words of the interface."""
    try:
        yield
    except LookupError as error:
        raise PaymentImpossible(str(error)) from error
    except ProviderAway as error:
        raise PaymentUnknown("the demo provider is away on purpose") from error
