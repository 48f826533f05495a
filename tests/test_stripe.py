"""What is special about Stripe: what we send it, and what we make of all that it may answer."""

import logging
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import stripe

from server.models import Money, new_id
from server.payments import PaymentImpossible, PaymentUnknown
from server.payments.build import build_payments, ledger_of
from server.payments.stripe import CALL_SECONDS, REPEATS, StripeProvider
from server.repo.mongo import Database
from server.settings import SettingsError, load
from tests.auth_flow import settings_for
from tests.banks import StripeBank, stripe_bank
from tests.stripe_objects import DECLINES, error, event, payment_intent, refund
from tests.stripe_stand_in import SECRET_KEY, WEBHOOK_SECRET, Fault

TWENTY = Money(currency="EUR", minor=2000)
FIVE = Money(currency="EUR", minor=500)
EVERY_TIME = 1 + REPEATS


@pytest.fixture
async def bank(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StripeBank]:
    """Stripe on a stand-in; a call may take a second."""
    monkeypatch.setattr(stripe.HTTPClient, "INITIAL_DELAY", 0.01)
    async with stripe_bank(call_seconds=1.0) as bank:
        yield bank


async def opened(bank: StripeBank, card: str = "pm_card_visa") -> str:
    return await bank.provider.create_intent(new_id("pay"), TWENTY, f"stripe:{card}")


async def captured(bank: StripeBank, card: str = "pm_card_visa") -> str:
    intent = await opened(bank, card)
    assert await bank.provider.confirm(intent) == "captured"
    return intent


def state(bank: StripeBank, intent: str) -> tuple[str, str | None]:
    """What Stripe says of an intent, and why it was cancelled."""
    found = bank.stand_in.account.intents[intent]
    return found["status"], found["cancellation_reason"]


# -- the stand-in is like Stripe -----------------------------------------------------------------

INTENT = payment_intent({"amount": "2000", "currency": "eur", "payment_method": "pm_card_visa"})


@pytest.mark.parametrize(
    ("shape", "like"),
    [
        (INTENT, stripe.PaymentIntent),
        (refund(INTENT, 500, {}), stripe.Refund),
        (event("payment_intent.succeeded", INTENT), stripe.Event),
    ],
    ids=["payment intent", "refund", "event"],
)
def test_its_objects_have_the_fields_that_the_package_knows(shape: Any, like: type) -> None:
    known = {name: str(kind) for name, kind in like.__annotations__.items()}
    required = {name for name, kind in known.items() if not re.search("Optional|None", kind)}
    assert shape.keys() <= known.keys()
    assert required - {"OBJECT_NAME"} <= shape.keys()
    assert shape["object"] == like.OBJECT_NAME  # type: ignore[attr-defined]


def test_its_errors_have_the_fields_that_the_package_knows() -> None:
    known = stripe.ErrorObject.__annotations__.keys()
    for code, decline_code, message in DECLINES.values():
        shape = error("card_error", message, code=code, decline_code=decline_code, charge="ch_1")
        assert shape.keys() <= known


# -- what is sent --------------------------------------------------------------------------------


async def test_an_intent_is_opened_by_card_under_our_key(bank: StripeBank) -> None:
    await bank.provider.create_intent("bk_1-abc", TWENTY, "stripe:pm_card_visa")
    (call,) = bank.stand_in.calls
    assert call.key == "bk_1-abc"
    assert call.params == {
        "amount": "2000",
        "currency": "eur",
        "payment_method": "pm_card_visa",
        "payment_method_types": ["card"],
        "metadata": {"payment_key": "bk_1-abc"},
    }
    assert call.version == "2026-08-26.dahlia", "another version of the API is another contract"


async def test_a_confirmation_asks_for_no_second_step_and_has_its_own_key(bank: StripeBank) -> None:
    intent = await captured(bank)
    (call,) = bank.stand_in.made("confirm")
    assert call.params == {"error_on_requires_action": "true"}
    assert call.key == f"{intent}:confirm"


async def test_a_refund_names_its_sum_and_its_key(bank: StripeBank) -> None:
    intent = await captured(bank)
    await bank.provider.refund(intent, "refund:bk_1:2", FIVE)
    (call,) = bank.stand_in.made("refund")
    assert call.key == "refund:bk_1:2"
    assert call.params == {
        "payment_intent": intent,
        "amount": "500",
        "metadata": {"refund_key": "refund:bk_1:2"},
    }


async def test_what_cannot_be_charged_rightly_is_not_charged(bank: StripeBank) -> None:
    """Stripe counts these currencies otherwise: ten of ours would be a tenth or a hundredfold."""
    for currency in ("ISK", "UGX", "MGA"):
        amount = Money(currency=currency, minor=2000)
        with pytest.raises(PaymentImpossible):
            await bank.provider.create_intent(new_id("pay"), amount, "stripe:pm_card_visa")
    assert bank.stand_in.calls == []


@pytest.mark.parametrize(("card", "minor"), [("pm_of_nobody", 2000), ("pm_card_visa", 49)])
async def test_a_card_or_a_sum_that_stripe_does_not_take(
    bank: StripeBank, card: str, minor: int
) -> None:
    amount = Money(currency="EUR", minor=minor)
    with pytest.raises(PaymentImpossible):
        await bank.provider.create_intent(new_id("pay"), amount, f"stripe:{card}")
    assert bank.stand_in.account.intents == {}


# -- declined ------------------------------------------------------------------------------------


@pytest.mark.parametrize("card", [*DECLINES, "pm_card_authenticationRequired"])
async def test_a_declined_card_ends_the_intent_before_it_is_said(
    bank: StripeBank, card: str
) -> None:
    intent = await opened(bank, card)
    assert await bank.provider.confirm(intent) == "declined"
    assert state(bank, intent) == ("canceled", "requested_by_customer")
    assert await bank.provider.get(intent) == "declined"


@pytest.mark.parametrize(
    "fault", ["unreachable", "failed", "acted_and_failed", "acted_and_lost", "acted_and_stalled"]
)
async def test_a_decline_that_could_not_be_made_final_is_not_said(
    bank: StripeBank, fault: Fault
) -> None:
    intent = await opened(bank, "pm_card_chargeDeclined")
    bank.stand_in.fail("cancel", fault, times=EVERY_TIME)
    with pytest.raises(PaymentUnknown):
        await bank.provider.confirm(intent)
    bank.stand_in.heal()
    ended = await bank.provider.cancel(intent)
    assert ended in ("declined", "cancelled")
    assert state(bank, intent)[0] == "canceled"
    assert await bank.provider.confirm(intent) == ended


async def test_a_fence_and_a_decline_are_told_apart(bank: StripeBank) -> None:
    intent = await opened(bank)
    assert await bank.provider.cancel(intent) == "cancelled"
    assert state(bank, intent) == ("canceled", "abandoned")


# -- nobody knows --------------------------------------------------------------------------------

FAULTS = ["unreachable", "stalled", "rate_limited", "failed", "fronted"]
ACTED = ["acted_and_failed", "acted_and_lost", "acted_and_stalled"]


@pytest.mark.parametrize("fault", [*FAULTS, *ACTED])
@pytest.mark.parametrize(
    "step", ["create", "confirm", "cancel", "retrieve", "list_refunds", "refund"]
)
async def test_whatever_goes_wrong_on_the_way_leaves_the_outcome_open(
    bank: StripeBank, step: Any, fault: Fault
) -> None:
    provider = bank.provider
    intent = await (captured(bank) if "refund" in step else opened(bank))
    bank.stand_in.fail(step, fault, times=EVERY_TIME)
    calls: dict[str, Any] = {
        "create": lambda: provider.create_intent("key", TWENTY, "stripe:pm_card_visa"),
        "confirm": lambda: provider.confirm(intent),
        "cancel": lambda: provider.cancel(intent),
        "retrieve": lambda: provider.get(intent),
        "list_refunds": lambda: provider.refund(intent, "refund:1", FIVE),
        "refund": lambda: provider.refund(intent, "refund:1", FIVE),
    }
    begun = time.monotonic()
    with pytest.raises(PaymentUnknown):
        await calls[step]()
    assert time.monotonic() - begun < 3
    bank.stand_in.heal()
    if step in ("confirm", "cancel"):
        end = await provider.cancel(intent)
        assert end == ("captured" if step == "confirm" and fault in ACTED else "cancelled")
        assert await bank.kept(intent) == (2000 if end == "captured" else 0)


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    provider = StripeProvider(SECRET_KEY, f"http://127.0.0.1:{port}", 0.5)
    with pytest.raises(PaymentUnknown):
        await provider.cancel("pi_1")
    await provider.close()


@pytest.mark.alone
async def test_one_call_is_bounded_by_ten_seconds(bank: StripeBank) -> None:
    """All that it asks Stripe, and all repeats, count together."""
    assert CALL_SECONDS == 10
    intent = await opened(bank, "pm_card_chargeDeclined")
    bank.stand_in.delay = lambda: 0.35  # on the way, and at work: each request takes 0.7 s
    begun = time.monotonic()
    with pytest.raises(PaymentUnknown):
        await bank.provider.confirm(intent)  # which asks twice
    assert 0.9 < time.monotonic() - begun < 1.5


async def test_one_lost_answer_is_asked_for_again(bank: StripeBank) -> None:
    intent = await opened(bank)
    bank.stand_in.fail("confirm", "acted_and_lost")
    assert await bank.provider.confirm(intent) == "captured"
    first, second = bank.stand_in.made("confirm")
    assert first.key == second.key
    assert await bank.kept(intent) == 2000


async def test_a_payment_in_progress_is_neither_captured_nor_to_be_stopped(
    bank: StripeBank,
) -> None:
    intent = await opened(bank, "pm_card_slow")
    for ask in (bank.provider.confirm, bank.provider.cancel, bank.provider.cancel):
        with pytest.raises(PaymentUnknown):
            await ask(intent)
    assert await bank.provider.get(intent) is None
    bank.stand_in.account.finish(intent, succeeded=True)
    assert await bank.provider.get(intent) == "captured"
    assert await bank.provider.cancel(intent) == "captured"


async def test_a_payment_that_failed_later_ends_at_the_fence(bank: StripeBank) -> None:
    intent = await opened(bank, "pm_card_slow")
    with pytest.raises(PaymentUnknown):
        await bank.provider.confirm(intent)
    bank.stand_in.account.finish(intent, succeeded=False)
    assert await bank.provider.get(intent) is None, "another card could still be tried"
    assert await bank.provider.cancel(intent) == "cancelled"
    assert await bank.kept(intent) == 0


async def test_a_wrong_key_needs_an_operator_and_settles_nothing(
    bank: StripeBank, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    intent = await opened(bank)
    stranger = StripeProvider("sk_test_of_somebody_else", bank.stand_in.url)
    with pytest.raises(PaymentUnknown, match="Invalid API Key") as caught:
        await stranger.cancel(intent)
    await stranger.close()
    assert await bank.provider.get(intent) is None
    assert "sk_test_of_somebody_else" not in f"{caught.value!r} {caplog.text}"


# -- what Stripe repeats, and what it forgets ----------------------------------------------------


async def test_a_failure_that_stripe_repeats_does_not_lock_the_fence(bank: StripeBank) -> None:
    """It keeps a 500 for a day and gives it to whoever comes with the same key."""
    intent = await opened(bank)
    bank.stand_in.fail("confirm", "failed")
    bank.stand_in.fail("cancel", "failed")
    for ask in (bank.provider.confirm, bank.provider.cancel, bank.provider.confirm):
        with pytest.raises(PaymentUnknown):
            await ask(intent)
    assert await bank.provider.cancel(intent) == "cancelled"
    assert len({call.key for call in bank.stand_in.made("cancel")}) == 2
    assert len({call.key for call in bank.stand_in.made("confirm")}) == 1


async def test_a_refund_is_made_once_when_stripe_has_forgotten_its_key(bank: StripeBank) -> None:
    intent = await captured(bank)
    bank.stand_in.fail("refund", "acted_and_failed")
    with pytest.raises(PaymentUnknown):
        await bank.provider.refund(intent, "refund:1", FIVE)
    bank.stand_in.forget_keys()
    await bank.provider.refund(intent, "refund:1", FIVE)
    assert await bank.kept(intent) == 1500


async def test_a_refund_that_failed_before_it_was_made_is_made_when_the_key_is_free(
    bank: StripeBank,
) -> None:
    intent = await captured(bank)
    bank.stand_in.fail("refund", "failed")
    for _ in range(3):
        with pytest.raises(PaymentUnknown):
            await bank.provider.refund(intent, "refund:1", FIVE)
    bank.stand_in.forget_keys()
    await bank.provider.refund(intent, "refund:1", FIVE)
    assert await bank.kept(intent) == 1500


async def test_a_refund_is_found_among_hundreds(bank: StripeBank) -> None:
    amount = Money(currency="EUR", minor=30_000)
    intent = await bank.provider.create_intent(new_id("pay"), amount, "stripe:pm_card_visa")
    await bank.provider.confirm(intent)
    await bank.provider.refund(intent, "refund:first", Money(currency="EUR", minor=100))
    for _ in range(230):
        bank.stand_in.account.refund({"payment_intent": intent, "amount": "100"}, intent)
    bank.stand_in.forget_keys()
    await bank.provider.refund(intent, "refund:first", Money(currency="EUR", minor=100))
    assert len(bank.stand_in.account.refunds) == 231


# -- refunds that take their time ----------------------------------------------------------------


async def test_a_refund_under_way_is_due_until_it_succeeds(bank: StripeBank) -> None:
    intent = await captured(bank, "pm_card_pendingRefund")
    for _ in range(2):
        with pytest.raises(PaymentUnknown, match="pending"):
            await bank.provider.refund(intent, "refund:1", FIVE)
    (made,) = bank.stand_in.account.refunds.values()
    assert (made["status"], made["amount"]) == ("pending", 500)
    made["status"] = "succeeded"
    await bank.provider.refund(intent, "refund:1", FIVE)
    assert len(bank.stand_in.account.refunds) == 1


@pytest.mark.parametrize("status", ["failed", "canceled"])
async def test_a_refund_that_came_to_nothing_needs_a_person(bank: StripeBank, status: str) -> None:
    intent = await captured(bank, "pm_card_pendingRefund")
    with pytest.raises(PaymentUnknown):
        await bank.provider.refund(intent, "refund:1", FIVE)
    (made,) = bank.stand_in.account.refunds.values()
    made["status"] = status
    with pytest.raises(PaymentImpossible, match=made["id"]):
        await bank.provider.refund(intent, "refund:1", FIVE)
    assert len(bank.stand_in.account.refunds) == 1


# -- choosing it ---------------------------------------------------------------------------------

CHOSEN = {
    "PAYMENT_PROVIDER": "stripe",
    "STRIPE_SECRET_KEY": "sk_live_1",
    "STRIPE_WEBHOOK_SECRET": "whsec_1",
}
ELSEWHERE = {
    "MONGO_URI": "mongodb://localhost",
    "REDIS_URL": "redis://localhost",
    "PUBLIC_URL": "https://rowlock.test",
    "JWT_SECRET": "q4Zf9sVbT1mXhK8rCe2wYd7uPj5nLg0a",
    "GOOGLE_CLIENT_ID": "id",
    "GOOGLE_CLIENT_SECRET": "0123456789",
}


@pytest.mark.parametrize("app_env", ["development", "staging", "production"])
@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({"STRIPE_SECRET_KEY": ""}, "STRIPE_SECRET_KEY: required when PAYMENT_PROVIDER is stripe"),
        (
            {"STRIPE_WEBHOOK_SECRET": ""},
            "STRIPE_WEBHOOK_SECRET: required when PAYMENT_PROVIDER is stripe",
        ),
        ({"STRIPE_SECRET_KEY": "pk_test_1"}, "STRIPE_SECRET_KEY: begins with sk_ or rk_"),
        ({"STRIPE_WEBHOOK_SECRET": "change-me"}, "STRIPE_WEBHOOK_SECRET: begins with whsec_"),
        ({"STRIPE_API_BASE": "localhost:1"}, "STRIPE_API_BASE: needs "),
        ({"PAYMENT_PROVIDER": "cash"}, "PAYMENT_PROVIDER: "),
        ({}, ""),
    ],
)
def test_its_settings_are_refused_by_name_everywhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, app_env: str, changed: Any, refused: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {**ELSEWHERE, **CHOSEN, **changed, "APP_ENV": app_env}.items():
        monkeypatch.setenv(name, value)
    if not refused:
        assert load().payment_provider == "stripe"
        return
    with pytest.raises(SettingsError) as caught:
        load()
    assert str(caught.value).startswith(refused)
    assert "\n" not in str(caught.value)
    assert "pk_test_1" not in str(caught.value)


@pytest.mark.parametrize(("app_env", "taken"), [("development", True), ("production", False)])
def test_a_stand_in_is_called_in_the_clear_in_development_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, app_env: str, taken: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    base = {"STRIPE_API_BASE": "http://127.0.0.1:1", "APP_ENV": app_env}
    for name, value in {**ELSEWHERE, **CHOSEN, **base}.items():
        monkeypatch.setenv(name, value)
    if taken:
        assert load().stripe_api_base == "http://127.0.0.1:1"
    else:
        with pytest.raises(SettingsError, match=r"^STRIPE_API_BASE: needs https://$"):
            load()


def chosen() -> Any:
    return settings_for(
        payment_provider="stripe",
        stripe_secret_key=SECRET_KEY,
        stripe_webhook_secret=WEBHOOK_SECRET,
    )


async def test_the_settings_choose_the_provider(database: Database) -> None:
    payments = build_payments(chosen(), database)
    assert isinstance(payments.provider, StripeProvider)
    assert payments.read_webhook is not None
    assert ledger_of(chosen(), database) is None
    await payments.close()


async def test_a_missing_package_is_told_in_one_line(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "server.payments.stripe")
    monkeypatch.setitem(sys.modules, "stripe", None)
    with pytest.raises(SettingsError) as caught:
        build_payments(chosen(), database)
    assert str(caught.value) == (
        "PAYMENT_PROVIDER: stripe is not installed: pip install 'rowlock[stripe]'"
    )


def test_nothing_of_it_is_loaded_until_it_is_chosen() -> None:
    code = "import sys, server.app; print('stripe' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(("app_env", "warned"), [("development", 0), ("production", 1)])
async def test_selling_for_no_money_is_said_outside_development(
    database: Database, caplog: pytest.LogCaptureFixture, app_env: str, warned: int
) -> None:
    settings = settings_for(app_env=app_env)
    payments = build_payments(settings, database)
    assert payments.read_webhook is None
    assert ledger_of(settings, database) is not None
    assert sum("PAYMENT_PROVIDER" in record.message for record in caplog.records) == warned
    await payments.close()
