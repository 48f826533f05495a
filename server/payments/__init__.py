"""Paying: what every payment provider can do."""

from typing import Literal, Protocol

from server.models import Money

Outcome = Literal["captured", "declined", "cancelled"]
"""How an intent ended. None of the three ever turns into another one."""


class PaymentUnknown(Exception):
    """The provider gave no answer that settles it: money may or may not have moved."""


class PaymentImpossible(Exception):
    """The provider says that this cannot be done, now or later: only a person can help."""


class PaymentProvider(Protocol):
    """Two steps, so that the intent is stored before money can move. All are idempotent by key."""

    def accepts(self, method: str) -> bool:
        """Say whether `method` is a payment method this provider knows."""
        ...

    async def create_intent(self, key: str, amount: Money, method: str) -> str:
        """Open an intent to pay and return its id; no money moves.

        Raises PaymentUnknown, PaymentImpossible (it takes no such payment).
        """
        ...

    async def confirm(self, intent_id: str) -> Outcome:
        """Capture the money. Raises PaymentUnknown."""
        ...

    async def cancel(self, intent_id: str) -> Outcome:
        """End the intent for good: a later `confirm` is refused. Returns what stands now.

        "captured" means that the money had moved before. Raises PaymentUnknown,
        PaymentImpossible (there is no such intent).
        """
        ...

    async def get(self, intent_id: str) -> Outcome | None:
        """Return what stands, changing nothing; None while the intent is open.

        Raises PaymentUnknown, PaymentImpossible (there is no such intent).
        """
        ...

    async def refund(self, intent_id: str, key: str, amount: Money) -> None:
        """Give back `amount` of what was captured, once per `key`.

        Raises PaymentUnknown, PaymentImpossible (no such intent, or more than is left of it).
        """
        ...
