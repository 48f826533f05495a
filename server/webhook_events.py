"""Acting on what a payment provider tells us: that there is news, never what the news is."""

import logging
from collections.abc import Awaitable, Callable

from server.errors import StoreUnavailable
from server.payments import PaymentImpossible, PaymentUnknown
from server.payments.webhooks import ReadWebhook
from server.repo.webhook_events import WebhookEventRepo

logger = logging.getLogger("rowlock.payments")

Hear = Callable[[str], Awaitable[None]]
"""Asks the provider what stands of an intent, and writes that down."""


class WebhookEvents:
    def __init__(self, read: ReadWebhook, events: WebhookEventRepo, hear: Hear) -> None:
        self._read = read
        self._events = events
        self._hear = hear

    async def receive(self, body: bytes, signature: str) -> None:
        """Act on an event, once; it is remembered only afterwards, so that a crash loses nothing.

        Raises WebhookRefused, StoreUnavailable (the provider does not answer: it will tell again).
        """
        event = self._read(body, signature)
        if event.intent_id is None or await self._events.is_done(event.id):
            return
        try:
            await self._hear(event.intent_id)
        except (PaymentUnknown, TimeoutError) as error:
            logger.warning("news of %s, and no answer about it: %r", event.intent_id, error)
            raise StoreUnavailable("The payment provider does not answer.") from error
        except PaymentImpossible as error:
            logger.error("news of %s, which a person must look at: %r", event.intent_id, error)
        await self._events.done(event.id)
