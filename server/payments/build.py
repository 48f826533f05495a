"""The payment provider that the settings name."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from server.payments import PaymentProvider
from server.payments.demo import DemoProvider
from server.payments.webhooks import ReadWebhook
from server.repo.demo_payments import DemoPaymentRepo
from server.repo.mongo import Database
from server.settings import Settings, SettingsError

logger = logging.getLogger("rowlock.payments")


@dataclass(frozen=True, slots=True)
class Payments:
    """`read_webhook` is None when the provider tells nothing by itself."""

    provider: PaymentProvider
    read_webhook: ReadWebhook | None
    close: Callable[[], Awaitable[None]]


def build_payments(settings: Settings, database: Database) -> Payments:
    """Compose what takes payments. Raises SettingsError when a package for it is missing."""
    if settings.payment_provider == "stripe":
        return _stripe(settings)
    if not settings.is_development:
        logger.warning("PAYMENT_PROVIDER is demo: seats are sold, and no money moves")
    return Payments(DemoProvider(DemoPaymentRepo(database)), None, _nothing)


def ledger_of(settings: Settings, database: Database) -> DemoPaymentRepo | None:
    """Return the ledger that can be checked against the sales; Stripe's cannot be read."""
    return DemoPaymentRepo(database) if settings.payment_provider == "demo" else None


def _stripe(settings: Settings) -> Payments:
    try:
        from server.payments.stripe import StripeProvider, StripeWebhook
    except ModuleNotFoundError as error:
        if error.name != "stripe":
            raise
        raise SettingsError(
            "PAYMENT_PROVIDER: stripe is not installed: pip install 'rowlock[stripe]'"
        ) from None
    provider = StripeProvider(
        settings.stripe_secret_key.get_secret_value(), settings.stripe_api_base
    )
    webhook = StripeWebhook(settings.stripe_webhook_secret.get_secret_value())
    return Payments(provider, webhook.read, provider.close)


async def _nothing() -> None:
    """What there is to close of the demo provider."""
