"""What every payment provider promises, held against each: the demo ledger on real MongoDB, and
Stripe on a stand-in. What counts is what the provider holds in its own books.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
import stripe

from server.models import Money, new_id
from server.payments import PaymentImpossible, PaymentUnknown
from server.repo.mongo import Database
from tests.banks import Bank, DemoBank, stripe_bank

TWENTY = Money(currency="EUR", minor=2000)


def euros(amount: int) -> Money:
    return Money(currency="EUR", minor=100 * amount)


@pytest.fixture(params=["demo", "stripe"])
async def bank(
    request: pytest.FixtureRequest, database: Database, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bank]:
    if request.param == "demo":
        yield DemoBank(database)
        return
    monkeypatch.setattr(stripe.HTTPClient, "INITIAL_DELAY", 0.02)  # before it asks again
    async with stripe_bank() as bank:
        yield bank


async def opened(bank: Bank, amount: Money = TWENTY, method: str = "") -> str:
    return await bank.provider.create_intent(new_id("pay"), amount, method or bank.good)


async def captured(bank: Bank, amount: Money = TWENTY) -> str:
    intent = await opened(bank, amount)
    assert await bank.provider.confirm(intent) == "captured"
    return intent


async def all_at_once(*calls: Awaitable[Any]) -> list[Any]:
    """Return what each call came to: its answer or its exception."""
    return await asyncio.gather(*calls, return_exceptions=True)


async def insisted(call: Any, *arguments: Any) -> Any:
    """Ask until there is an answer, as the background work does."""
    for _ in range(20):
        try:
            return await call(*arguments)
        except PaymentUnknown:
            continue
    raise AssertionError("there is never an answer")


async def jittered(call: Any, *arguments: Any) -> Any:
    """Ask at a moment near enough for either to be first."""
    await asyncio.sleep(random.uniform(0, 0.008))
    return await insisted(call, *arguments)


# -- opening -------------------------------------------------------------------------------------


async def test_it_knows_its_own_payment_methods(bank: Bank) -> None:
    assert bank.provider.accepts(bank.good)
    assert bank.provider.accepts(bank.bad)
    for method in ("", "demo:", "demo:nothing", "stripe:", "stripe:pm_", "stripe:pm_a b", "pm_a"):
        assert not bank.provider.accepts(method)


async def test_an_open_intent_has_moved_nothing(bank: Bank) -> None:
    intent = await opened(bank)
    assert await bank.provider.get(intent) is None
    assert await bank.kept(intent) == 0


async def test_a_key_opens_one_intent(bank: Bank) -> None:
    key = new_id("pay")
    first = await bank.provider.create_intent(key, TWENTY, bank.good)
    assert await bank.provider.create_intent(key, TWENTY, bank.good) == first
    other = await bank.provider.create_intent(new_id("pay"), TWENTY, bank.good)
    assert other != first
    assert await bank.intents() == 2


async def test_fifty_calls_at_once_open_one_intent(bank: Bank) -> None:
    key = new_id("pay")
    ids = await all_at_once(
        *(insisted(bank.provider.create_intent, key, TWENTY, bank.good) for _ in range(50))
    )
    assert len(set(ids)) == 1
    assert await bank.intents() == 1


async def test_a_key_is_for_one_payment(bank: Bank) -> None:
    key = new_id("pay")
    intent = await bank.provider.create_intent(key, TWENTY, bank.good)
    with pytest.raises(PaymentImpossible):
        await bank.provider.create_intent(key, euros(30), bank.good)
    with pytest.raises(PaymentImpossible):
        await bank.provider.create_intent(key, TWENTY, bank.bad)
    assert await bank.provider.confirm(intent) == "captured"
    assert await bank.kept(intent) == 2000


# -- ending --------------------------------------------------------------------------------------


async def test_a_confirmed_intent_is_captured_for_good(bank: Bank) -> None:
    intent = await captured(bank)
    assert await bank.provider.get(intent) == "captured"
    assert await bank.provider.confirm(intent) == "captured"
    assert await bank.provider.cancel(intent) == "captured"
    assert await bank.provider.get(intent) == "captured"
    assert await bank.kept(intent) == 2000


async def test_a_declined_intent_is_declined_for_good(bank: Bank) -> None:
    intent = await opened(bank, method=bank.bad)
    assert await bank.provider.confirm(intent) == "declined"
    assert await bank.provider.get(intent) == "declined"
    assert await bank.provider.confirm(intent) == "declined"
    assert await bank.provider.cancel(intent) == "declined"
    assert await bank.provider.get(intent) == "declined"
    assert await bank.kept(intent) == 0


@pytest.mark.parametrize("method", ["good", "bad"])
async def test_a_cancelled_intent_is_cancelled_for_good(bank: Bank, method: str) -> None:
    """The fence: whoever confirms later is refused, whatever the card would have said."""
    intent = await opened(bank, method=getattr(bank, method))
    assert await bank.provider.cancel(intent) == "cancelled"
    assert await bank.provider.get(intent) == "cancelled"
    assert await bank.provider.confirm(intent) == "cancelled"
    assert await bank.provider.cancel(intent) == "cancelled"
    assert await bank.provider.get(intent) == "cancelled"
    assert await bank.kept(intent) == 0


@pytest.mark.parametrize("step", ["confirm", "cancel", "get", "refund"])
async def test_an_intent_that_nobody_opened_needs_a_person(bank: Bank, step: str) -> None:
    arguments = ("refund:1", TWENTY) if step == "refund" else ()
    with pytest.raises(PaymentImpossible):
        await getattr(bank.provider, step)("pi_nobody", *arguments)


async def test_fifty_confirmations_at_once_capture_once(bank: Bank) -> None:
    intent = await opened(bank)
    said = await all_at_once(*(insisted(bank.provider.confirm, intent) for _ in range(50)))
    assert set(said) == {"captured"}
    assert await bank.kept(intent) == 2000


async def test_exactly_one_of_confirmation_and_fence_stands(bank: Bank) -> None:
    """Raced many times over; whoever asks, then or later, is told the same."""
    ends = []
    for _ in range(60):
        intent = await opened(bank)
        said = await all_at_once(
            jittered(bank.provider.confirm, intent), jittered(bank.provider.cancel, intent)
        )
        assert len(set(said)) == 1, said
        ends.append(said[0])
        for ask in (bank.provider.cancel, bank.provider.confirm, bank.provider.get):
            assert await insisted(ask, intent) == said[0]
        assert await bank.kept(intent) == (2000 if said[0] == "captured" else 0)
    assert {*ends} == {"captured", "cancelled"}, "there was no race"


async def test_a_decline_and_a_fence_agree(bank: Bank) -> None:
    for _ in range(30):
        intent = await opened(bank, method=bank.bad)
        said = await all_at_once(
            insisted(bank.provider.confirm, intent), insisted(bank.provider.cancel, intent)
        )
        assert len(set(said)) == 1, said
        assert said[0] in ("declined", "cancelled")
        assert await bank.provider.get(intent) == said[0]
        assert await bank.kept(intent) == 0


# -- answers that are lost -----------------------------------------------------------------------


async def test_an_intent_whose_opening_was_not_heard_is_found_again(bank: Bank) -> None:
    key = new_id("pay")
    bank.lose("create")
    with pytest.raises(PaymentUnknown):
        await bank.provider.create_intent(key, TWENTY, bank.good)
    intent = await bank.provider.create_intent(key, TWENTY, bank.good)
    assert await bank.intents() == 1
    assert await bank.provider.get(intent) is None


@pytest.mark.parametrize("ask", ["confirm", "cancel", "get"])
async def test_a_capture_that_was_not_heard_is_found_again(bank: Bank, ask: str) -> None:
    intent = await opened(bank)
    bank.lose("confirm")
    with pytest.raises(PaymentUnknown):
        await bank.provider.confirm(intent)
    assert await getattr(bank.provider, ask)(intent) == "captured"
    assert await bank.kept(intent) == 2000


@pytest.mark.parametrize("ask", ["confirm", "cancel", "get"])
async def test_a_fence_that_was_not_heard_stands(bank: Bank, ask: str) -> None:
    intent = await opened(bank)
    bank.lose("cancel")
    with pytest.raises(PaymentUnknown):
        await bank.provider.cancel(intent)
    assert await getattr(bank.provider, ask)(intent) == "cancelled"
    assert await bank.kept(intent) == 0


async def test_a_decline_that_was_not_heard_never_becomes_a_capture(bank: Bank) -> None:
    intent = await opened(bank, method=bank.bad)
    bank.lose("confirm")
    with pytest.raises(PaymentUnknown):
        await bank.provider.confirm(intent)
    ended = await bank.provider.cancel(intent)
    assert ended in ("declined", "cancelled")
    assert await bank.provider.confirm(intent) == ended
    assert await bank.kept(intent) == 0


async def test_a_refund_that_was_not_heard_is_not_made_twice(bank: Bank) -> None:
    intent = await captured(bank)
    bank.lose("refund")
    with pytest.raises(PaymentUnknown):
        await bank.provider.refund(intent, "refund:1", euros(5))
    assert await bank.kept(intent) == 1500
    await bank.provider.refund(intent, "refund:1", euros(5))
    assert await bank.kept(intent) == 1500


# -- giving back ---------------------------------------------------------------------------------


async def test_parts_are_given_back_until_nothing_is_left(bank: Bank) -> None:
    intent = await captured(bank)
    for number, left in enumerate((1500, 1000, 500, 0)):
        await bank.provider.refund(intent, f"refund:{number}", euros(5))
        assert await bank.kept(intent) == left
    with pytest.raises(PaymentImpossible):
        await bank.provider.refund(intent, "refund:5", euros(1))
    assert await bank.kept(intent) == 0
    assert await bank.provider.get(intent) == "captured"


async def test_no_more_is_given_back_than_was_captured(bank: Bank) -> None:
    intent = await captured(bank)
    with pytest.raises(PaymentImpossible):
        await bank.provider.refund(intent, "refund:1", euros(21))
    await bank.provider.refund(intent, "refund:2", euros(15))
    with pytest.raises(PaymentImpossible):
        await bank.provider.refund(intent, "refund:3", euros(6))
    assert await bank.kept(intent) == 500


@pytest.mark.parametrize("minor", [0, -100])
async def test_a_refund_gives_something(bank: Bank, minor: int) -> None:
    intent = await captured(bank)
    with pytest.raises(PaymentImpossible):
        await bank.provider.refund(intent, "refund:1", Money(currency="EUR", minor=minor))
    assert await bank.kept(intent) == 2000


@pytest.mark.parametrize("key", ["refund:1", "refund.$1", "$refund.1", "refund:" + "x" * 200])
async def test_a_key_gives_back_once(bank: Bank, key: str) -> None:
    intent = await captured(bank)
    for _ in range(3):
        await bank.provider.refund(intent, key, euros(5))
    assert await bank.kept(intent) == 1500
    with pytest.raises(PaymentImpossible):
        await bank.provider.refund(intent, key, euros(6))
    assert await bank.kept(intent) == 1500


async def test_the_whole_sum_is_given_back_once(bank: Bank) -> None:
    """When nothing is left, a repeat is a repeat still, and no overdraft."""
    intent = await captured(bank)
    for _ in range(3):
        await bank.provider.refund(intent, "refund:1", TWENTY)
    assert await bank.kept(intent) == 0


async def test_fifty_refunds_at_once_under_one_key_give_back_once(bank: Bank) -> None:
    intent = await captured(bank)
    said = await all_at_once(
        *(insisted(bank.provider.refund, intent, "refund:1", euros(5)) for _ in range(50))
    )
    assert said == [None] * 50
    assert await bank.kept(intent) == 1500


async def test_refunds_at_once_never_give_back_more_than_was_captured(bank: Bank) -> None:
    intent = await captured(bank)
    said = await all_at_once(
        *(insisted(bank.provider.refund, intent, f"refund:{n}", euros(3)) for n in range(20))
    )
    assert said.count(None) == 6
    assert sum(isinstance(answer, PaymentImpossible) for answer in said) == 14
    assert await bank.kept(intent) == 200


@pytest.mark.parametrize("end", ["open", "declined", "cancelled"])
async def test_what_was_not_captured_is_not_given_back(bank: Bank, end: str) -> None:
    intent = await opened(bank, method=bank.bad if end == "declined" else "")
    if end == "declined":
        await bank.provider.confirm(intent)
    if end == "cancelled":
        await bank.provider.cancel(intent)
    with pytest.raises(PaymentImpossible):
        await bank.provider.refund(intent, "refund:1", euros(5))
    assert await bank.kept(intent) == 0


# -- all of it at once ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_happens_an_end_is_an_end(bank: Bank, seed: int) -> None:
    """Calls of all kinds at once, with answers lost: no two ends, and no money made or lost."""
    chance = random.Random(seed)
    intent = await opened(bank, method=chance.choice([bank.good, bank.good, bank.bad]))
    for step in chance.choices(["confirm", "cancel", "refund"], k=2):
        bank.lose(step)
    asks = chance.choices([bank.provider.confirm, bank.provider.cancel, bank.provider.get], k=12)
    calls = [ask(intent) for ask in asks]
    calls += [bank.provider.refund(intent, f"refund:{n % 4}", euros(8)) for n in range(8)]
    chance.shuffle(calls)
    said = await all_at_once(*calls)
    end = await insisted(bank.provider.cancel, intent)
    assert {answer for answer in said if isinstance(answer, str)} <= {end}
    assert all(
        isinstance(answer, PaymentUnknown | PaymentImpossible | str | None) for answer in said
    ), said
    kept = await bank.kept(intent)
    assert kept in ((2000, 1200, 400) if end == "captured" else (0,))
    assert await insisted(bank.provider.get, intent) == end
