"""Stripe's webhook: who is believed, and that only Stripe itself is believed about money.

The background work is off here: what a booking comes to is the webhook's doing alone.
"""

import asyncio
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from server.embedded import EmbeddedMongo, EmbeddedValkey
from server.errors import WebhookRefused
from server.payments.stripe import StripeWebhook
from server.repo.webhook_events import WebhookEventRepo
from tests.running import IN_MODULE_LOOP, Running, booked, pay, problem, running, states
from tests.stripe_objects import Object, event
from tests.stripe_stand_in import (
    SECRET_KEY,
    WEBHOOK_SECRET,
    StripeStandIn,
    signature,
    stripe_stand_in,
)

pytestmark = IN_MODULE_LOOP

PATH = "/api/payments/stripe/webhook"


@dataclass(frozen=True)
class Shop:
    """A server that takes payments through a stand-in for Stripe."""

    server: Running
    stripe: StripeStandIn

    async def paying(self) -> tuple[str, str]:
        """Start a payment that Stripe takes its time over; returns booking and intent."""
        showtime = await self.server.showtime()
        booking = await booked(self.server.bob, showtime, "A1")
        answer = await pay(self.server.bob, booking, "stripe:pm_card_slow")
        assert answer.status_code == 202, answer.text
        return booking, (await self.server.stored.booking(booking))["intent_id"]

    async def status(self, booking: str) -> str:
        return (await self.server.stored.booking(booking))["status"]

    async def post(self, body: bytes, **headers: str) -> httpx.Response:
        return await self.server.visitor.post(PATH, content=body, headers=headers)

    async def tell(self, message: Object) -> httpx.Response:
        return await self.stripe.send(f"{self.server.url}{PATH}", message)

    async def remembered(self, message: Object) -> bool:
        rows = self.server.stored.database["webhook_events"]
        return await rows.find_one({"_id": message["id"]}) is not None

    def asked(self) -> int:
        """How often Stripe was asked what stands."""
        return len(self.stripe.made("retrieve"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(valkey: EmbeddedValkey, mongo: EmbeddedMongo) -> AsyncIterator[Shop]:
    async with stripe_stand_in() as stand_in:
        settings = {
            "payment_provider": "stripe",
            "stripe_secret_key": SECRET_KEY,
            "stripe_webhook_secret": WEBHOOK_SECRET,
            "stripe_api_base": stand_in.url,
            "background_work": "off",
            "cors_origins": ("https://page.test",),
        }
        async with running(valkey, mongo, **settings) as server:
            yield Shop(server, stand_in)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def waiting(shop: Shop) -> tuple[str, str]:
    """A booking whose payment Stripe has captured, and nobody has told us yet."""
    booking, intent = await shop.paying()
    shop.stripe.account.finish(intent, succeeded=True)
    return booking, intent


def succeeded(shop: Shop, intent: str, **changes: Any) -> Object:
    return event("payment_intent.succeeded", shop.stripe.account.intents[intent], **changes)


def signed(body: bytes, at: float | None = None, secret: str = WEBHOOK_SECRET) -> str:
    return signature(body, secret, time.time() if at is None else at)


def mac(body: bytes, kind: str = "sha256", secret: str = WEBHOOK_SECRET) -> str:
    return hmac.new(secret.encode(), body, kind).hexdigest()


# -- who is not believed -------------------------------------------------------------------------

Forgery = Callable[[bytes], tuple[bytes, dict[str, str]]]


def header(make: Callable[[bytes, int], str]) -> Forgery:
    """The body as it is, under a header made of it and of the time."""
    return lambda body: (body, {"Stripe-Signature": make(body, int(time.time()))})


def body(change: Callable[[bytes], bytes]) -> Forgery:
    """Another body under the true signature."""
    return lambda body: (change(body), {"Stripe-Signature": signed(body)})


def instead(text: bytes) -> Forgery:
    """Another body, rightly signed."""
    return lambda _: (text, {"Stripe-Signature": signed(text)})


def v1(body: bytes, at: int) -> str:
    return mac(f"{at}.".encode() + body)


FORGERIES: dict[str, Forgery] = {
    "no header": lambda body: (body, {}),
    "an empty header": header(lambda *_: ""),
    "another header": lambda body: (body, {"Signature": signed(body)}),
    "a header without sense": header(lambda *_: "hello"),
    "a header of commas": header(lambda *_: "," * 5000),
    "another secret": header(lambda body, _: signed(body, secret="whsec_of_somebody_else")),
    "the secret without its prefix": header(
        lambda body, _: signed(body, secret=WEBHOOK_SECRET.removeprefix("whsec_"))
    ),
    "an empty secret": header(lambda body, _: signed(body, secret="")),
    "the API key as secret": header(lambda body, _: signed(body, secret=SECRET_KEY)),
    "the signature of another body": header(lambda *_: signed(b"{}")),
    "the first byte changed": body(lambda body: b"[" + body[1:]),
    "the last byte changed": body(lambda body: body[:-1] + b"]"),
    "one bit changed": body(lambda body: body[:40] + bytes([body[40] ^ 1]) + body[41:]),
    "one byte more": body(lambda body: body + b" "),
    "one byte less": body(lambda body: body[:-1]),
    "no body": body(lambda _: b""),
    "the same JSON written otherwise": body(
        lambda body: json.dumps(json.loads(body), indent=1).encode()
    ),
    "stale by a second": header(lambda body, now: signed(body, now - 302)),
    "a day old": header(lambda body, now: signed(body, now - 86_400)),
    "of a time to come": header(lambda body, now: signed(body, now + 310)),
    "of next year": header(lambda body, now: signed(body, now + 3e7)),
    "of the beginning of time": header(lambda body, now: signed(body, 0)),
    "of before it": header(lambda body, now: signed(body, -now)),
    "an old one under a new time": header(lambda body, now: f"t={now},v1={v1(body, now - 900)}"),
    "an old one with a new time after it": header(
        lambda body, now: f"t={now - 900},v1={v1(body, now - 900)},t={now}"
    ),
    "an old one with a new time before it": header(
        lambda body, now: f"t={now},t={now - 900},v1={v1(body, now - 900)}"
    ),
    "no time": header(lambda body, now: f"v1={v1(body, now)}"),
    "an empty time": header(lambda body, now: f"t=,v1={mac(b'.' + body)}"),
    "a time in words": header(lambda body, now: f"t=now,v1={mac(b'now.' + body)}"),
    "a time of five thousand digits": header(
        lambda body, now: f"t={'9' * 5000},v1={v1(body, now)}"
    ),
    "no signature": header(lambda _, now: f"t={now}"),
    "an empty signature": header(lambda _, now: f"t={now},v1="),
    "half a signature": header(lambda body, now: f"t={now},v1={v1(body, now)[:32]}"),
    "a signature in capitals": header(lambda body, now: f"t={now},v1={v1(body, now).upper()}"),
    "a signature that is not ASCII": header(lambda _, now: f"t={now},v1=ü"),
    "the scheme of tests alone": header(lambda body, now: f"t={now},v0={v1(body, now)}"),
    "a scheme to come": header(lambda body, now: f"t={now},v2={v1(body, now)}"),
    "a weaker hash": header(
        lambda body, now: f"t={now},v1={mac(f'{now}.'.encode() + body, 'sha1')}"
    ),
    "the body signed without the time": header(lambda body, now: f"t={now},v1={mac(body)}"),
    "many signatures, and none fits": header(
        lambda body, now: f"t={now}," + ",".join(f"v1={v1(body, now + n)}" for n in range(1, 30))
    ),
    "not JSON": instead(b"payment_intent.succeeded"),
    "not text": instead(b'{"id": "evt_1", "type": "\xff"}'),
    "a list": instead(b"[]"),
    "nothing": instead(b""),
    "deep": instead(b"[" * 60_000),
    "without an id": instead(b'{"type": "payment_intent.succeeded", "data": {}}'),
    "with a number for an id": instead(b'{"id": 1, "type": "payment_intent.succeeded"}'),
    "with an empty id": instead(b'{"id": "", "type": "payment_intent.succeeded"}'),
    "with an id too long": instead(b'{"id": "%b", "type": "x"}' % (b"e" * 256)),
    "without a type": instead(b'{"id": "evt_1"}'),
    "with a list for data": instead(b'{"id": "evt_1", "type": "x", "data": []}'),
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES.keys())
async def test_what_stripe_did_not_sign_is_refused(
    shop: Shop, waiting: tuple[str, str], forgery: Forgery
) -> None:
    booking, intent = waiting
    message, before = succeeded(shop, intent), shop.asked()
    text, headers = forgery(json.dumps(message).encode())
    raw = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    answer = await shop.server.visitor.post(PATH, content=text, headers=raw)
    problem(answer, 400, "webhook_refused")
    assert await shop.status(booking) == "paying"
    assert not await shop.remembered(message)
    assert shop.asked() == before


async def test_five_minutes_either_way_are_forgiven() -> None:
    text = b'{"id": "evt_1", "type": "x"}'
    for drift, fits in {-301: False, -300: True, 0: True, 300: True, 301: False}.items():
        reader = StripeWebhook(WEBHOOK_SECRET, clock=lambda: 1_000_000.0)
        given = signature(text, WEBHOOK_SECRET, 1_000_000 + drift)
        if fits:
            assert reader.read(text, given).id == "evt_1"
        else:
            with pytest.raises(WebhookRefused):
                reader.read(text, given)


async def test_a_huge_body_is_refused_before_it_is_read(shop: Shop) -> None:
    text = json.dumps({"id": "evt_huge", "type": "x", "padding": "x" * 65_536}).encode()
    problem(await shop.post(text, **{"Stripe-Signature": signed(text)}), 413, "body_too_large")

    async def in_pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(text), 8192):
            yield text[start : start + 8192]

    answer = await shop.server.visitor.post(
        PATH, content=in_pieces(), headers={"Stripe-Signature": signed(text)}
    )
    problem(answer, 413, "body_too_large")


async def test_sixty_four_kibibytes_are_read(shop: Shop) -> None:
    text = b'{"id": "evt_large", "type": "x"}'.ljust(65_536)
    answer = await shop.post(text, **{"Stripe-Signature": signed(text)})
    assert answer.status_code == 204


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_it_takes_nothing_but_post(shop: Shop, method: str) -> None:
    answer = await shop.server.visitor.request(method, PATH)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_cors_does_not_open_it_to_pages(shop: Shop) -> None:
    """To the origins of CORS_ORIGINS neither, which may call all the rest."""
    page = {"Origin": "https://page.test"}
    asks = {**page, "Access-Control-Request-Method": "POST"}
    elsewhere = await shop.server.visitor.options("/api/bookings", headers=asks)
    assert elsewhere.headers["access-control-allow-origin"] == "https://page.test"
    here = await shop.server.visitor.options(PATH, headers=asks)
    assert here.status_code == 405
    refused = await shop.post(b"{}", **page)
    for answer in (here, refused):
        assert [name for name in answer.headers if name.startswith("access-control")] == []


# -- who is believed -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda body, now: f"t={now},v1={v1(body, now)}",
        lambda body, now: f"t={now},v1={'0' * 64},v1={v1(body, now)}",
        lambda body, now: f"t={now},v1={v1(body, now)},v1={'0' * 64}",
        lambda body, now: f"t={now},v1={v1(body, now)},v0={'0' * 64}",
        lambda body, now: f"v0=x,v1={v1(body, now)},t={now},v9=later",
    ],
    ids=["one", "the last of two", "the first of two", "beside one of tests", "in any order"],
)
async def test_one_signature_that_fits_is_enough(
    shop: Shop, make: Callable[[bytes, int], str]
) -> None:
    booking, intent = await shop.paying()
    shop.stripe.account.finish(intent, succeeded=True)
    text = json.dumps(succeeded(shop, intent)).encode()
    answer = await shop.post(text, **{"Stripe-Signature": make(text, int(time.time()))})
    assert (answer.status_code, answer.content) == (204, b"")
    assert await shop.status(booking) == "confirmed"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Origin": "https://elsewhere.test", "Sec-Fetch-Site": "cross-site"},
        {"Cookie": "rowlock_refresh=x", "Authorization": "Bearer nonsense"},
    ],
    ids=["as it is", "no JSON by its type", "from anywhere", "with a stranger's sign-in"],
)
async def test_the_signature_alone_counts(shop: Shop, headers: dict[str, str]) -> None:
    booking, intent = await shop.paying()
    shop.stripe.account.finish(intent, succeeded=True)
    text = json.dumps(succeeded(shop, intent)).encode()
    answer = await shop.post(text, **{"Stripe-Signature": signed(text), **headers})
    assert answer.status_code == 204
    assert await shop.status(booking) == "confirmed"


async def test_a_payment_that_was_captured_makes_the_sale(shop: Shop) -> None:
    booking, intent = await shop.paying()
    shop.stripe.account.finish(intent, succeeded=True)
    message = shop.stripe.account.events[-1]
    assert message["type"] == "payment_intent.succeeded"
    assert (await shop.tell(message)).status_code == 204
    row = await shop.server.stored.booking(booking)
    assert row["status"] == "confirmed"
    assert [entry["action"] for entry in row["timeline"]][-2:] == [
        "payment.captured",
        "booking.confirmed",
    ]
    assert await states(shop.server.visitor, row["showtime_id"]) == {"A1": "b"}
    assert await shop.remembered(message)


# -- what is said counts for nothing -------------------------------------------------------------


async def test_an_event_that_runs_ahead_of_stripe_changes_nothing(shop: Shop) -> None:
    """Signed or not: it says "succeeded", and Stripe, asked, says "processing"."""
    booking, intent = await shop.paying()
    about = {**shop.stripe.account.intents[intent], "status": "succeeded"}
    before = shop.asked()
    assert (await shop.tell(event("payment_intent.succeeded", about))).status_code == 204
    assert shop.asked() == before + 1
    assert await shop.status(booking) == "paying"


async def test_an_event_of_success_after_a_fence_declines(shop: Shop) -> None:
    booking, intent = await shop.paying()
    shop.stripe.account.intents[intent] |= {
        "status": "canceled",
        "cancellation_reason": "requested_by_customer",
    }
    await shop.tell(succeeded(shop, intent))
    row = await shop.server.stored.booking(booking)
    assert row["status"] == "pending"
    assert [entry["action"] for entry in row["timeline"]][-1] == "payment.declined"


async def test_a_failed_attempt_frees_no_seat(shop: Shop) -> None:
    """At Stripe another card could still be tried: only the fence settles that."""
    booking, intent = await shop.paying()
    shop.stripe.account.finish(intent, succeeded=False)
    message = shop.stripe.account.events[-1]
    assert message["type"] == "payment_intent.payment_failed"
    assert (await shop.tell(message)).status_code == 204
    row = await shop.server.stored.booking(booking)
    assert (row["status"], row["claims"]) == ("paying", ["A1"])


@pytest.mark.parametrize("seed", range(6))
async def test_events_in_any_order_come_to_the_same(shop: Shop, seed: int) -> None:
    booking, intent = await shop.paying()
    shop.stripe.account.finish(intent, succeeded=True)
    told = [m for m in shop.stripe.account.events if m["data"]["object"]["id"] == intent]
    assert [m["type"].removeprefix("payment_intent.") for m in told] == [
        "created",
        "processing",
        "succeeded",
    ]
    told.append(event("payment_intent.payment_failed", told[0]["data"]["object"]))
    told.append(event("payment_intent.canceled", told[0]["data"]["object"]))
    for message in told[seed % 5 :] + told[: seed % 5]:
        assert (await shop.tell(message)).status_code == 204
    row = await shop.server.stored.booking(booking)
    assert row["status"] == "confirmed"
    assert [entry["action"] for entry in row["timeline"]].count("booking.confirmed") == 1


def of_intent(intent_id: Any, kind: str = "payment_intent.succeeded") -> Object:
    return event(kind, {"id": intent_id, "object": "payment_intent"})


@pytest.mark.parametrize(
    "message",
    [
        event("charge.succeeded", {"id": "ch_1", "object": "charge"}),
        event("customer.created", {"id": "cus_1", "object": "customer"}),
        of_intent(7),
        of_intent(None),
        of_intent({"$gt": ""}),
        {"id": "evt_thin", "object": "v2.core.event", "type": "v1.thin", "related_object": {}},
        {"id": "evt_bare", "type": "payment_intent.succeeded"},
        {"id": "evt_list", "type": "payment_intent.succeeded", "data": {"object": []}},
    ],
    ids=lambda message: f"{message['type']} {message['id']}",
)
async def test_what_is_about_no_payment_is_thanked_for_and_forgotten(
    shop: Shop, message: Object
) -> None:
    before = shop.asked()
    assert (await shop.tell(message)).status_code == 204
    assert shop.asked() == before
    assert not await shop.remembered(message)


@pytest.mark.parametrize("kind", ["payment_intent.succeeded", "payment_intent.something_new"])
async def test_what_is_about_no_payment_of_ours_is_thanked_for(shop: Shop, kind: str) -> None:
    before = shop.asked()
    assert (await shop.tell(of_intent("pi_nobody", kind))).status_code == 204
    assert shop.asked() == before


async def test_an_intent_that_stripe_does_not_know_is_not_asked_for_again(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a change of accounts: a person must look, and Stripe need not repeat it."""
    booking, intent = await shop.paying()
    message = succeeded(shop, intent)
    del shop.stripe.account.intents[intent]
    assert (await shop.tell(message)).status_code == 204
    assert await shop.status(booking) == "paying"
    assert await shop.remembered(message)
    assert any(intent in record.message for record in caplog.records if record.levelname == "ERROR")


# -- once, and not less --------------------------------------------------------------------------


async def test_a_duplicate_is_acted_on_once(shop: Shop) -> None:
    booking, intent = await shop.paying()
    message, before = succeeded(shop, intent), shop.asked()
    for _ in range(3):
        assert (await shop.tell(message)).status_code == 204
    assert shop.asked() == before + 1
    shop.stripe.account.finish(intent, succeeded=True)
    await shop.tell(message)
    assert await shop.status(booking) == "paying", "it was done with before"
    await shop.tell({**message, "id": "evt_of_its_own"})
    assert await shop.status(booking) == "confirmed"


async def test_twenty_at_once_make_one_sale(shop: Shop) -> None:
    booking, intent = await shop.paying()
    shop.stripe.account.finish(intent, succeeded=True)
    same = succeeded(shop, intent)
    messages = [same] * 10 + [succeeded(shop, intent) for _ in range(10)]
    answers = await asyncio.gather(*(shop.tell(message) for message in messages))
    assert {answer.status_code for answer in answers} == {204}
    row = await shop.server.stored.booking(booking)
    assert row["status"] == "confirmed"
    assert [entry["action"] for entry in row["timeline"]].count("payment.captured") == 1


async def test_when_stripe_does_not_answer_it_is_asked_to_come_again(shop: Shop) -> None:
    booking, intent = await shop.paying()
    shop.stripe.account.finish(intent, succeeded=True)
    message = succeeded(shop, intent)
    shop.stripe.fail("retrieve", "failed")
    refusal = await shop.tell(message)
    problem(refusal, 503, "store_unavailable")
    assert int(refusal.headers["retry-after"]) >= 1
    assert await shop.status(booking) == "paying"
    assert not await shop.remembered(message)
    assert (await shop.tell(message)).status_code == 204
    assert await shop.status(booking) == "confirmed"


async def test_a_crash_after_the_act_lets_it_be_acted_on_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is remembered last, so that nothing that was not done counts as done."""
    booking, intent = await shop.paying()
    shop.stripe.account.finish(intent, succeeded=True)
    message = succeeded(shop, intent)

    async def crash(self: WebhookEventRepo, event_id: str) -> None:
        raise RuntimeError("it crashed")

    with monkeypatch.context() as patched:
        patched.setattr(WebhookEventRepo, "done", crash)
        problem(await shop.tell(message), 500, "internal_error")
    assert await shop.status(booking) == "confirmed"
    before = await shop.server.stored.booking(booking)
    assert (await shop.tell(message)).status_code == 204
    assert await shop.server.stored.booking(booking) == before
    assert await shop.remembered(message)


async def test_a_request_that_is_cut_off_stops_nothing_half_way(shop: Shop) -> None:
    """As when a server that leaves waits no longer for its open requests."""
    booking, intent = await shop.paying()
    shop.stripe.account.finish(intent, succeeded=True)
    text = json.dumps(succeeded(shop, intent)).encode()
    before = shop.asked()
    transport = httpx.ASGITransport(shop.server.app)
    async with httpx.AsyncClient(transport=transport, base_url=shop.server.url) as client:
        headers = {"Stripe-Signature": signed(text)}
        request = asyncio.create_task(client.post(PATH, content=text, headers=headers))
        async with asyncio.timeout(5):
            while shop.asked() == before:
                await asyncio.sleep(0)
        request.cancel()
        problem(await request, 503, "store_unavailable")
    async with asyncio.timeout(5):
        while await shop.status(booking) != "confirmed":
            await asyncio.sleep(0.01)


async def test_what_was_done_is_forgotten_after_a_week(shop: Shop) -> None:
    indexes = await shop.server.stored.database["webhook_events"].index_information()
    (kept,) = [index for index in indexes.values() if "expireAfterSeconds" in index]
    assert (kept["key"], kept["expireAfterSeconds"]) == ([("done_at", 1)], 7 * 24 * 3600)


# -- the rest of a sale --------------------------------------------------------------------------


async def test_a_card_pays_at_once(shop: Shop) -> None:
    showtime = await shop.server.showtime()
    booking = await booked(shop.server.bob, showtime, "A1", "B1")
    answer = await pay(shop.server.bob, booking, "stripe:pm_card_visa")
    assert answer.status_code == 200, answer.text
    row = await shop.server.stored.booking(booking)
    assert row["status"] == "confirmed"
    assert shop.stripe.account.kept(row["intent_id"]) == 2500
    metadata = shop.stripe.account.intents[row["intent_id"]]["metadata"]
    assert metadata["payment_key"].startswith(booking)


async def test_a_declined_card_leaves_the_booking_to_another(shop: Shop) -> None:
    showtime = await shop.server.showtime()
    booking = await booked(shop.server.bob, showtime, "A1")
    answer = await pay(shop.server.bob, booking, "stripe:pm_card_chargeDeclined")
    problem(answer, 402, "payment_declined")
    assert await shop.status(booking) == "pending"
    assert (await pay(shop.server.bob, booking, "stripe:pm_card_visa")).status_code == 200


async def test_without_stripe_there_is_no_such_address(
    valkey: EmbeddedValkey, mongo: EmbeddedMongo
) -> None:
    async with running(valkey, mongo) as server:
        answer = await server.visitor.post(PATH, content=b"{}")
        problem(answer, 404, "not_found")
