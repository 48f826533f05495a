"""Payments through Stripe: one PaymentIntent each, by card. The only place that knows the package.

An intent ends once, at Stripe: it succeeds, or it is cancelled. A declined card could be tried
again there, so the intent is cancelled too before "declined" is said; the reason that stands with
the cancellation keeps the two apart. Whatever leaves the outcome open is PaymentUnknown.
"""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx2
import stripe
from pydantic import BaseModel, StringConstraints, ValidationError

from server.errors import WebhookRefused
from server.models import Money
from server.payments import Outcome, PaymentImpossible, PaymentUnknown
from server.payments.webhooks import WebhookEvent

logger = logging.getLogger("rowlock.payments")

stripe.enable_telemetry = False  # it would keep a file of its own in the home directory

CALL_SECONDS = 10.0
"""How long one call may take, with all that it asks Stripe and all repeats."""
REPEATS = 2
"""How often the package sends a request again, under the same idempotency key."""
TOLERANCE_SECONDS = 300
"""How far the time of a webhook's signature may be from ours, before or after."""

_METHOD = re.compile(r"stripe:(pm_[A-Za-z0-9_]+)")
_LAPSED, _DECLINED = "abandoned", "requested_by_customer"
"""Why we cancel: the fence, or a card that was declined. Stripe takes its own words only."""
_OTHER_UNITS = {"ISK", "MGA", "UGX"}
"""Where Stripe's smallest unit is another than that of ISO 4217."""


class StripeProvider:
    """Implements server.payments.PaymentProvider."""

    def __init__(
        self, secret_key: str, api_base: str = "", call_seconds: float = CALL_SECONDS
    ) -> None:
        """`api_base`: where to call instead of Stripe's own address."""
        self._call_seconds = call_seconds
        self._transport = _Transport(call_seconds)
        client = stripe.StripeClient(
            secret_key,
            base_addresses={"api": api_base.rstrip("/")} if api_base else None,
            http_client=self._transport,
            max_network_retries=REPEATS,
        )
        self._intents, self._refunds = client.v1.payment_intents, client.v1.refunds

    def accepts(self, method: str) -> bool:
        return _METHOD.fullmatch(method) is not None

    async def create_intent(self, key: str, amount: Money, method: str) -> str:
        """Raises PaymentImpossible too: Stripe knows no such card, or takes no such amount."""
        if amount.currency in _OTHER_UNITS:
            raise PaymentImpossible(f"Stripe counts {amount.currency} in other units than we do")
        async with self._answered():
            intent = await self._intents.create_async(
                {
                    "amount": amount.minor,
                    "currency": amount.currency.lower(),
                    "payment_method": method.removeprefix("stripe:"),
                    "payment_method_types": ["card"],  # others may take days, and seats wait
                    "metadata": {"payment_key": key},
                },
                {"idempotency_key": key},
            )
        return intent.id

    async def confirm(self, intent_id: str) -> Outcome:
        async with self._answered():
            try:
                intent = await self._intents.confirm_async(
                    intent_id,
                    {"error_on_requires_action": True},  # the page knows no second step
                    {"idempotency_key": f"{intent_id}:confirm"},
                )
            except (stripe.CardError, stripe.InvalidRequestError) as error:
                logger.info("%s is not captured: %s", intent_id, error)
                return await self._end(intent_id, _DECLINED)
            return _ended(intent)

    async def cancel(self, intent_id: str) -> Outcome:
        async with self._answered():
            return await self._end(intent_id, _LAPSED)

    async def get(self, intent_id: str) -> Outcome | None:
        async with self._answered():
            return _outcome_of(await self._intents.retrieve_async(intent_id))

    async def refund(self, intent_id: str, key: str, amount: Money) -> None:
        async with self._answered():
            refund = await self._refund_of(key, intent_id)
            if refund is None:
                refund = await self._refunds.create_async(
                    {
                        "payment_intent": intent_id,
                        "amount": amount.minor,
                        "metadata": {"refund_key": key},
                    },
                    {"idempotency_key": key},
                )
        if refund.amount != amount.minor:
            raise PaymentImpossible(f"{key}: {refund.id} has given back another amount")
        if refund.status in ("failed", "canceled"):
            raise PaymentImpossible(f"{key}: {refund.id} is {refund.status}")
        if refund.status != "succeeded":  # it may still come to nothing: ask again until it is sure
            raise PaymentUnknown(f"{key}: {refund.id} is {refund.status}")

    async def close(self) -> None:
        await self._transport.close_async()

    async def _end(self, intent_id: str, reason: str) -> Outcome:
        """Cancel the intent unless it has ended; returns what stands.

        Under a new idempotency key each time: to a fixed one Stripe would repeat its first answer
        for a day, a 500 too, and the fence needs no key to do the same thing twice.
        """
        try:
            intent = await self._intents.cancel_async(intent_id, {"cancellation_reason": reason})
        except stripe.InvalidRequestError as error:
            if error.code != "payment_intent_unexpected_state":
                raise
            intent = await self._intents.retrieve_async(intent_id)
        return _ended(intent)

    async def _refund_of(self, key: str, intent_id: str) -> stripe.Refund | None:
        """Return the refund that was made under `key`: Stripe forgets its keys after a day."""
        page = await self._refunds.list_async({"payment_intent": intent_id, "limit": 100})
        async for refund in page.auto_paging_iter():
            if refund.metadata and refund.metadata.to_dict().get("refund_key") == key:
                return refund
        return None

    @asynccontextmanager
    async def _answered(self) -> AsyncIterator[None]:
        """Turn what the package raises into the words of the interface, in bounded time."""
        try:
            async with asyncio.timeout(self._call_seconds):
                yield
        except (stripe.CardError, stripe.InvalidRequestError, stripe.IdempotencyError) as error:
            raise PaymentImpossible(str(error)) from error
        except (stripe.StripeError, TimeoutError) as error:
            raise PaymentUnknown(repr(error)) from error


class StripeWebhook:
    """Reads the events that Stripe posts to us, signed with the endpoint's `secret`."""

    def __init__(self, secret: str, clock: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._clock = clock

    def read(self, body: bytes, signature: str) -> WebhookEvent:
        """Return the event; `signature` is the header Stripe-Signature. Raises WebhookRefused."""
        try:
            stripe.WebhookSignature.verify_header(body, signature, self._secret)
        except (stripe.SignatureVerificationError, ValueError, TypeError):  # or not even text
            raise WebhookRefused("The signature does not fit the body.") from None
        fields = (part.split("=") for part in signature.split(","))
        sent_at = next(int(field[1]) for field in fields if field[0] == "t")
        if abs(self._clock() - sent_at) > TOLERANCE_SECONDS:
            raise WebhookRefused("The signature is too old, or of a time to come.")
        try:
            return _Event.model_validate_json(body).news()
        except ValidationError:
            raise WebhookRefused("The body is no event.") from None


class _Event(BaseModel):
    """What we read of an event. Its data may be old, so only whom it is about counts."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    type: str
    data: dict[str, Any] = {}

    def news(self) -> WebhookEvent:
        about = self.data.get("object")
        if not self.type.startswith("payment_intent.") or not isinstance(about, dict):
            return WebhookEvent(self.id, None)
        intent_id = about.get("id")
        return WebhookEvent(self.id, intent_id if isinstance(intent_id, str) else None)


def _outcome_of(intent: stripe.PaymentIntent) -> Outcome | None:
    if intent.status == "succeeded":
        return "captured"
    if intent.status != "canceled":
        return None
    return "declined" if intent.cancellation_reason == _DECLINED else "cancelled"


def _ended(intent: stripe.PaymentIntent) -> Outcome:
    outcome = _outcome_of(intent)
    if outcome is None:
        raise PaymentUnknown(f"{intent.id} is {intent.status}")
    return outcome


class _Transport(stripe.HTTPClient):
    """Sends what the package asks for by httpx2, as all of Rowlock does."""

    name = "httpx2"

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._http = httpx2.AsyncClient(timeout=seconds)

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: str | None = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        try:
            answer = await self._http.request(method, url, headers=headers, content=post_data)
        except httpx2.HTTPError as error:
            lost = stripe.APIConnectionError(repr(error), should_retry=True)  # type: ignore[no-untyped-call]
            raise lost from error
        return answer.content, answer.status_code, answer.headers

    async def sleep_async(self, secs: float) -> None:
        await asyncio.sleep(secs)

    async def close_async(self) -> None:
        await self._http.aclose()
