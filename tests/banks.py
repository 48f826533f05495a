"""Payment providers with their books open: made to go wrong, and asked what they really hold."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from server.payments import PaymentProvider
from server.payments.demo import DemoProvider
from server.payments.stripe import REPEATS, StripeProvider
from server.repo.demo_payments import DemoPaymentRepo, ProviderAway
from server.repo.mongo import Database
from tests.stripe_stand_in import SECRET_KEY, StripeStandIn, stripe_stand_in

Step = Literal["create", "confirm", "cancel", "refund"]


class Bank(Protocol):
    """A provider and what is behind it. `good` and `bad` are payment methods."""

    provider: PaymentProvider
    good: str
    bad: str

    def lose(self, step: Step) -> None:
        """Let the next answer be lost, after what was asked for is done."""
        ...

    async def kept(self, intent_id: str) -> int:
        """Return what was captured and not given back, in minor units."""
        ...

    async def intents(self) -> int:
        """Return how many intents were ever opened."""
        ...


class ForgetfulLedger(DemoPaymentRepo):
    """Does what it is told, and then does not say so when its answer is to be lost."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.lost: list[str] = []

    async def create(self, *arguments: Any) -> bool:
        return self._said("create", await super().create(*arguments))

    async def settle(self, intent_id: str, outcome: Any) -> Any:
        step = "cancel" if outcome == "cancelled" else "confirm"
        return self._said(step, await super().settle(intent_id, outcome))

    async def refund(self, *arguments: Any) -> bool:
        return self._said("refund", await super().refund(*arguments))

    def _said(self, step: str, answer: Any) -> Any:
        if step in self.lost:
            self.lost.remove(step)
            raise ProviderAway("the answer is lost")
        return answer


class DemoBank:
    good, bad = "demo:approve", "demo:decline"

    def __init__(self, database: Database) -> None:
        self.ledger = ForgetfulLedger(database)
        self.rows = database.client[f"{database.name}_demo_bank"]["intents"]
        self.provider: PaymentProvider = DemoProvider(self.ledger)

    def lose(self, step: Step) -> None:
        self.ledger.lost.append(step)

    async def kept(self, intent_id: str) -> int:
        row = await self.rows.find_one({"_id": intent_id})
        captured = row["amount"]["minor"] if row["status"] == "captured" else 0
        return captured - sum(row["refunds"].values())

    async def intents(self) -> int:
        return await self.rows.count_documents({})


@dataclass
class StripeBank:
    stand_in: StripeStandIn
    provider: StripeProvider
    good: str = "stripe:pm_card_visa"
    bad: str = "stripe:pm_card_chargeDeclined"

    def lose(self, step: Step) -> None:
        self.stand_in.fail(step, "acted_and_lost", times=1 + REPEATS)

    async def kept(self, intent_id: str) -> int:
        return self.stand_in.account.kept(intent_id)

    async def intents(self) -> int:
        return len(self.stand_in.account.intents)


@asynccontextmanager
async def stripe_bank(call_seconds: float = 10.0) -> AsyncIterator[StripeBank]:
    async with stripe_stand_in() as stand_in:
        provider = StripeProvider(SECRET_KEY, stand_in.url, call_seconds)
        try:
            yield StripeBank(stand_in, provider)
        finally:
            await provider.close()
