"""The ways that a demo payment can go, each by its payment method, as the ledger then has it."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from server.models import Money, new_id
from server.payments import PaymentImpossible, PaymentUnknown, demo
from server.payments.demo import METHODS, DemoProvider
from server.repo.demo_payments import DemoPaymentRepo
from server.repo.mongo import Collection, Database, connect, leave

TEN = Money(currency="EUR", minor=1000)
ASKS = ("confirm", "cancel", "get")


@pytest.fixture
def ledger(database: Database) -> DemoPaymentRepo:
    return DemoPaymentRepo(database)


@pytest.fixture
def provider(ledger: DemoPaymentRepo) -> DemoProvider:
    return DemoProvider(ledger)


@pytest.fixture
def rows(database: Database) -> Collection:
    """The ledger as it is written down."""
    return database.client[f"{database.name}_demo_bank"]["intents"]


async def opened(provider: DemoProvider, method: str) -> str:
    return await provider.create_intent(new_id("pay"), TEN, method)


async def unheard(provider: DemoProvider, method: str) -> str:
    """Open and confirm an intent; the answer does not come."""
    intent = await opened(provider, method)
    with pytest.raises(PaymentUnknown):
        await provider.confirm(intent)
    return intent


async def comes(rows: Collection, intent: str, moment: str) -> None:
    """Let a moment that the ledger holds have come."""
    past = datetime.now(UTC) - timedelta(milliseconds=1)
    changed = await rows.update_one(
        {"_id": intent, moment: {"$exists": True}}, {"$set": {moment: past}}
    )
    assert changed.matched_count == 1, f"no {moment}"


async def status(rows: Collection, intent: str) -> str:
    row = await rows.find_one({"_id": intent})
    return row["status"]


def test_the_methods_of_the_contract_are_there() -> None:
    assert {"demo:approve", "demo:decline", "demo:timeout", "demo:slow"} <= METHODS.keys()


@pytest.mark.parametrize("method", METHODS)
async def test_no_method_moves_anything_before_it_is_confirmed(
    provider: DemoProvider, ledger: DemoPaymentRepo, method: str
) -> None:
    intent = await opened(provider, method)
    assert await provider.get(intent) is None
    assert await provider.cancel(intent) == "cancelled"
    assert await provider.confirm(intent) == "cancelled"
    assert await ledger.kept(but=()) == {}


class TestTimeout:
    async def test_the_money_has_moved_and_nobody_was_told(
        self, provider: DemoProvider, rows: Collection
    ) -> None:
        intent = await unheard(provider, "demo:timeout")
        assert await status(rows, intent) == "captured"
        for ask in ASKS:
            assert await getattr(provider, ask)(intent) == "captured"


class TestSlow:
    async def test_it_is_captured_after_a_while(
        self, provider: DemoProvider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(demo, "SLOW_SECONDS", 0.05)
        intent = await opened(provider, "demo:slow")
        assert await provider.confirm(intent) == "captured"

    async def test_who_cancels_meanwhile_is_first(
        self, provider: DemoProvider, rows: Collection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reached, may_go_on = asyncio.Event(), asyncio.Event()

        async def held_up(_: float) -> None:
            reached.set()
            await may_go_on.wait()

        monkeypatch.setattr(demo.asyncio, "sleep", held_up)
        intent = await opened(provider, "demo:slow")
        confirming = asyncio.create_task(provider.confirm(intent))
        await reached.wait()
        assert await provider.cancel(intent) == "cancelled"
        may_go_on.set()
        assert await confirming == "cancelled"
        assert await status(rows, intent) == "cancelled"


class TestError:
    async def test_nothing_has_happened_and_nobody_was_told(
        self, provider: DemoProvider, rows: Collection
    ) -> None:
        intent = await unheard(provider, "demo:error")
        with pytest.raises(PaymentUnknown):
            await provider.confirm(intent)
        assert await status(rows, intent) == "created"
        assert await provider.get(intent) is None
        assert await provider.cancel(intent) == "cancelled"
        assert await provider.confirm(intent) == "cancelled"


class TestLate:
    async def test_the_capture_comes_when_its_moment_has_come(
        self, provider: DemoProvider, rows: Collection
    ) -> None:
        intent = await unheard(provider, "demo:late")
        assert await provider.get(intent) is None
        assert await status(rows, intent) == "created"
        await comes(rows, intent, "captures_at")
        assert await provider.get(intent) == "captured"

    @pytest.mark.parametrize("ask", ASKS)
    async def test_whoever_comes_first_after_that_finds_it_captured(
        self, provider: DemoProvider, rows: Collection, ask: str
    ) -> None:
        intent = await unheard(provider, "demo:late")
        await comes(rows, intent, "captures_at")
        assert await getattr(provider, ask)(intent) == "captured"
        assert await status(rows, intent) == "captured"

    async def test_it_can_be_given_back_at_once(
        self, provider: DemoProvider, ledger: DemoPaymentRepo, rows: Collection
    ) -> None:
        intent = await unheard(provider, "demo:late")
        with pytest.raises(PaymentImpossible):
            await provider.refund(intent, "refund:1", TEN)
        await comes(rows, intent, "captures_at")
        await provider.refund(intent, "refund:1", TEN)
        assert await ledger.kept(but=()) == {"EUR": 0}

    async def test_the_sum_counts_though_nobody_has_come_yet(
        self, provider: DemoProvider, ledger: DemoPaymentRepo, rows: Collection
    ) -> None:
        intent = await unheard(provider, "demo:late")
        assert await ledger.kept(but=()) == {}
        await comes(rows, intent, "captures_at")
        assert await ledger.kept(but=()) == {"EUR": 1000}
        assert await status(rows, intent) == "created", "and nothing was written for it"

    async def test_the_fence_keeps_it_out(
        self, provider: DemoProvider, ledger: DemoPaymentRepo, rows: Collection
    ) -> None:
        intent = await unheard(provider, "demo:late")
        assert await provider.cancel(intent) == "cancelled"
        await comes(rows, intent, "captures_at")
        for ask in ASKS:
            assert await getattr(provider, ask)(intent) == "cancelled"
        assert await ledger.kept(but=()) == {}

    async def test_asking_again_does_not_put_it_off(
        self, provider: DemoProvider, rows: Collection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        intent = await unheard(provider, "demo:late")
        before = await rows.find_one({"_id": intent})
        monkeypatch.setattr(demo, "LATE_SECONDS", 3600)
        with pytest.raises(PaymentUnknown):
            await provider.confirm(intent)
        assert await rows.find_one({"_id": intent}) == before

    async def test_it_needs_nobody_who_runs_meanwhile(
        self, provider: DemoProvider, rows: Collection, database: Database
    ) -> None:
        """The process that confirmed may be gone: another finds the capture."""
        intent = await unheard(provider, "demo:late")
        await comes(rows, intent, "captures_at")
        host, port = database.client.address
        other = connect(f"mongodb://{host}:{port}/{database.name}?replicaSet=rs0")
        try:
            assert await DemoProvider(DemoPaymentRepo(other)).cancel(intent) == "captured"
        finally:
            await leave(other)

    async def test_exactly_one_of_capture_and_fence_stands(
        self, provider: DemoProvider, ledger: DemoPaymentRepo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Raced by MongoDB's own clock, many times over."""
        monkeypatch.setattr(demo, "LATE_SECONDS", 0.1)
        ends, captured = [], 0
        for _ in range(30):
            intent = await unheard(provider, "demo:late")
            await asyncio.sleep(random.uniform(0, 0.15))
            said = await asyncio.gather(provider.cancel(intent), provider.cancel(intent))
            assert len(set(said)) == 1
            ends += said[:1]
            captured += 1000 * (said[0] == "captured")
            assert {await provider.get(intent), await provider.confirm(intent)} == {said[0]}
        assert {*ends} == {"captured", "cancelled"}, "there was no race"
        assert (await ledger.kept(but=()))["EUR"] == captured


class TestOutage:
    async def test_no_call_is_answered_and_nothing_moves(
        self, provider: DemoProvider, ledger: DemoPaymentRepo, rows: Collection
    ) -> None:
        intent = await unheard(provider, "demo:outage")
        calls: list[tuple[str, Any]] = [
            ("create_intent", (intent, TEN, "demo:outage")),
            *((ask, (intent,)) for ask in ASKS),
            ("refund", (intent, "refund:1", TEN)),
        ]
        for name, arguments in calls:
            with pytest.raises(PaymentUnknown):
                await getattr(provider, name)(*arguments)
        assert await status(rows, intent) == "created"
        assert await ledger.kept(but=()) == {}

    async def test_it_lasts_two_minutes_by_the_clock_of_the_ledger(
        self, provider: DemoProvider, rows: Collection
    ) -> None:
        before = datetime.now(UTC)
        intent = await unheard(provider, "demo:outage")
        row = await rows.find_one({"_id": intent})
        length = row["away_until"].replace(tzinfo=UTC) - before
        assert timedelta(seconds=119) < length < timedelta(seconds=130)

    async def test_every_process_meets_it(self, provider: DemoProvider, database: Database) -> None:
        intent = await unheard(provider, "demo:outage")
        with pytest.raises(PaymentUnknown):
            await DemoProvider(DemoPaymentRepo(database)).cancel(intent)

    async def test_other_payments_go_on(self, provider: DemoProvider) -> None:
        await unheard(provider, "demo:outage")
        assert await provider.confirm(await opened(provider, "demo:approve")) == "captured"

    @pytest.mark.parametrize(("ask", "end"), [("confirm", "captured"), ("cancel", "cancelled")])
    async def test_then_all_goes_on_as_if_nothing_had_been(
        self, provider: DemoProvider, rows: Collection, ask: str, end: str
    ) -> None:
        intent = await unheard(provider, "demo:outage")
        await comes(rows, intent, "away_until")
        assert await provider.get(intent) is None
        assert await getattr(provider, ask)(intent) == end
        assert await provider.get(intent) == end

    async def test_asking_again_does_not_make_it_longer(
        self, provider: DemoProvider, rows: Collection
    ) -> None:
        intent = await unheard(provider, "demo:outage")
        before = await rows.find_one({"_id": intent})
        with pytest.raises(PaymentUnknown):
            await provider.confirm(intent)
        assert await rows.find_one({"_id": intent}) == before


class TestLedger:
    async def test_it_says_what_was_kept_by_currency(
        self, provider: DemoProvider, ledger: DemoPaymentRepo
    ) -> None:
        yen = Money(currency="JPY", minor=500)
        sums = {"a": TEN, "b": TEN, "c": yen, "under_way": TEN}
        for key, amount in sums.items():
            await provider.create_intent(key, amount, "demo:approve")
            await provider.confirm(key)
        await provider.confirm(await opened(provider, "demo:decline"))
        await provider.refund("a", "refund:1", Money(currency="EUR", minor=300))
        await provider.refund("a", "refund:2", Money(currency="EUR", minor=100))
        await provider.refund("c", "refund:1", yen)
        assert await ledger.kept(but=["under_way"]) == {"EUR": 1600, "JPY": 0}

    async def test_only_the_captured_currency_is_given_back(
        self, provider: DemoProvider, ledger: DemoPaymentRepo
    ) -> None:
        intent = await opened(provider, "demo:approve")
        await provider.confirm(intent)
        await provider.refund(intent, "refund:1", Money(currency="EUR", minor=100))
        for key in ("refund:1", "refund:2"):
            with pytest.raises(PaymentImpossible):
                await provider.refund(intent, key, Money(currency="USD", minor=100))
        assert await ledger.kept(but=()) == {"EUR": 900}

    @pytest.mark.parametrize("wait", ["go_away", "capture_in"])
    async def test_for_an_intent_that_has_ended_nothing_is_to_come(
        self, provider: DemoProvider, ledger: DemoPaymentRepo, rows: Collection, wait: str
    ) -> None:
        intent = await opened(provider, "demo:approve")
        await provider.cancel(intent)
        before = await rows.find_one({"_id": intent})
        await getattr(ledger, wait)(intent, 60)
        assert await rows.find_one({"_id": intent}) == before
