"""The payment provider of a simulation: a ledger, and the interface of `server.payments` to it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from server.models import Money
from server.payments import Outcome, PaymentImpossible

Call = Callable[[str, Callable[[], Any]], Awaitable[Any]]

METHODS = ("approve", "decline")


@dataclass
class Intent:
    id: str
    amount: Money
    method: str
    outcome: Outcome | None = None
    refunds: dict[str, int] = field(default_factory=dict)

    @property
    def kept(self) -> int:
        """Captured and not given back, in minor units."""
        return self.amount.minor - sum(self.refunds.values()) if self.outcome == "captured" else 0


class Bank:
    """The ledger. What has an outcome keeps it; `settled` is told of each."""

    def __init__(self, settled: Callable[[Intent], None]) -> None:
        self.intents: dict[str, Intent] = {}
        self._settled = settled

    def open(self, key: str, amount: Money, method: str) -> str:
        self.intents.setdefault(key, Intent(key, amount, method))
        return key

    def settle(self, intent_id: str, outcome: Outcome | None) -> Outcome:
        """Give an open intent its outcome (None: that of its method); returns what stands."""
        intent = self._intent(intent_id)
        if intent.outcome is None:
            intent.outcome = outcome or ("captured" if intent.method == "approve" else "declined")
            self._settled(intent)
        return intent.outcome

    def outcome(self, intent_id: str) -> Outcome | None:
        return self._intent(intent_id).outcome

    def refund(self, intent_id: str, key: str, amount: Money) -> None:
        intent = self._intent(intent_id)
        if key in intent.refunds:
            return
        if intent.kept < amount.minor:
            raise PaymentImpossible(f"{key}: only {intent.kept} is left of {intent_id}")
        intent.refunds[key] = amount.minor

    def _intent(self, intent_id: str) -> Intent:
        if intent_id not in self.intents:
            raise PaymentImpossible(f"no intent {intent_id}")
        return self.intents[intent_id]


class BankProvider:
    """Implements server.payments.PaymentProvider for one process."""

    def __init__(self, bank: Bank, call: Call) -> None:
        self._bank = bank
        self._call = call

    def accepts(self, method: str) -> bool:
        return method in METHODS

    async def create_intent(self, key: str, amount: Money, method: str) -> str:
        bank = self._bank
        opened: str = await self._call("create_intent", lambda: bank.open(key, amount, method))
        return opened

    async def confirm(self, intent_id: str) -> Outcome:
        stands: Outcome = await self._call("confirm", lambda: self._bank.settle(intent_id, None))
        return stands

    async def cancel(self, intent_id: str) -> Outcome:
        stands: Outcome = await self._call(
            "cancel", lambda: self._bank.settle(intent_id, "cancelled")
        )
        return stands

    async def get(self, intent_id: str) -> Outcome | None:
        stands: Outcome | None = await self._call("get", lambda: self._bank.outcome(intent_id))
        return stands

    async def refund(self, intent_id: str, key: str, amount: Money) -> None:
        await self._call("refund", lambda: self._bank.refund(intent_id, key, amount))
