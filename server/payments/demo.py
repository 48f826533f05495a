"""The demo payment provider: no money, but a ledger and all the ways a payment can go."""

import asyncio

from server.models import Money
from server.payments import Outcome, PaymentUnknown
from server.repo.demo_payments import DemoPaymentRepo

METHODS = {
    "demo:approve": "captured",
    "demo:decline": "declined",
    "demo:timeout": "captured",  # and the answer is lost
    "demo:slow": "captured",  # after a while
}
SLOW_SECONDS = 3.0


class DemoProvider:
    """Implements server.payments.PaymentProvider."""

    def __init__(self, ledger: DemoPaymentRepo) -> None:
        self._ledger = ledger

    def accepts(self, method: str) -> bool:
        return method in METHODS

    async def create_intent(self, key: str, amount: Money, method: str) -> str:
        await self._ledger.create(key, amount, method)
        return key

    async def confirm(self, intent_id: str) -> Outcome:
        method = (await self._ledger.get(intent_id))["method"]
        if method == "demo:slow":
            await asyncio.sleep(SLOW_SECONDS)
        outcome: Outcome = "declined" if METHODS[method] == "declined" else "captured"
        status = await self._ledger.settle(intent_id, outcome)
        if method == "demo:timeout":
            raise PaymentUnknown("the demo provider lost its answer on purpose")
        return status

    async def cancel(self, intent_id: str) -> Outcome:
        return await self._ledger.settle(intent_id, "cancelled")

    async def refund(self, intent_id: str, key: str) -> None:
        await self._ledger.refund(intent_id, key)
