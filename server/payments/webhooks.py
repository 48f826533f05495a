"""What a payment provider tells us of its own accord."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """Something has happened to an intent; None when it is about something else."""

    id: str
    intent_id: str | None


ReadWebhook = Callable[[bytes, str], WebhookEvent]
"""Reads a signed body and the header that signs it; raises WebhookRefused."""
