"""Paying: what every payment provider can do."""

from typing import Literal, Protocol

from server.models import Money

Outcome = Literal["captured", "declined", "cancelled"]


class PaymentUnknown(Exception):
    """The provider gave no answer that settles it: money may or may not have moved."""


class PaymentProvider(Protocol):
    """Two steps, so that the intent is stored before money can move. All are idempotent by key."""

    def accepts(self, method: str) -> bool:
        """Say whether `method` is a payment method this provider knows."""
        ...

    async def create_intent(self, key: str, amount: Money, method: str) -> str:
        """Open an intent to pay and return its id; no money moves."""
        ...

    async def confirm(self, intent_id: str) -> Outcome:
        """Capture the money. Raises PaymentUnknown."""
        ...

    async def cancel(self, intent_id: str) -> Outcome:
        """End the intent for good: a later `confirm` is refused. Returns what stands now.

        "captured" means that the money had moved before. Raises PaymentUnknown.
        """
        ...

    async def refund(self, intent_id: str, key: str) -> None:
        """Give back what was captured, once per `key`. Raises PaymentUnknown."""
        ...
