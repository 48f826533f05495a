"""What has to be right in the settings before anything starts, and what had better be known."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from server.secret_strength import issued_weakness, placeholder_in, signing_weakness

if TYPE_CHECKING:
    from server.settings import Settings

_ADDRESS = r"[^\s<>@]+@[^\s<>@]+"
_MAIL_FROM = re.compile(rf"{_ADDRESS}|[^<>\x00-\x1f]*<{_ADDRESS}>")
_ORIGIN = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:(?P<port>[0-9]{1,5}))?")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class SettingsError(Exception):
    """The configuration cannot be used; the message is one line that names the variable."""


def check(settings: "Settings") -> None:
    """Raise SettingsError with the first thing that is wrong. No secret is ever quoted."""
    _check_mail(settings)
    _check_stripe(settings)
    _check_origins(settings)
    if not settings.is_development:
        _check_outside_development(settings)


def _check_mail(settings: "Settings") -> None:
    """Whoever names a mail server also says who the mails come from. Tells nothing of SMTP_URL."""
    url = settings.smtp_url.get_secret_value()
    if not url:
        return
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("smtp", "smtps") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError("SMTP_URL: needs smtp:// or smtps://, a host and, if any, a port")
    if not _MAIL_FROM.fullmatch(settings.mail_from):
        raise SettingsError("MAIL_FROM: needs name@host or Name <name@host> when SMTP_URL is set")


def _check_origins(settings: "Settings") -> None:
    """Origins are compared as browsers write them (RFC 6454, section 6.2), so that one written
    otherwise would never be met; and no page in the clear speaks for people who come by https."""
    by_https = settings.public_url.lower().startswith("https://")
    for origin in settings.cors_origins:
        if not _is_origin(origin):
            raise SettingsError(
                "CORS_ORIGINS: needs scheme://host or scheme://host:port, in small letters, "
                "without a path and without *"
            )
        if by_https and not origin.startswith("https://"):
            raise SettingsError("CORS_ORIGINS: needs https:// when PUBLIC_URL has it")


def _is_origin(text: str) -> bool:
    found = _ORIGIN.fullmatch(text)
    return found is not None and 0 < int(found["port"] or 1) < 65536


def _check_outside_development(settings: "Settings") -> None:
    required = {
        "MONGO_URI": settings.mongo_uri,
        "REDIS_URL": settings.redis_url,
        "PUBLIC_URL": settings.public_url,
        "JWT_SECRET": settings.jwt_secret.get_secret_value(),
        "GOOGLE_CLIENT_ID": settings.google_client_id,
        "GOOGLE_CLIENT_SECRET": settings.google_client_secret.get_secret_value(),
    }
    for name, value in required.items():
        if not value:
            raise SettingsError(f"{name}: required when APP_ENV is {settings.app_env}")
    for name, weakness in _weaknesses(settings):
        if weakness:
            raise SettingsError(f"{name}: {weakness}")
    _check_public_url(settings)
    if settings.rate_limits == "off" and settings.app_env == "production":
        raise SettingsError("RATE_LIMITS: may be off only outside production")


def _weaknesses(settings: "Settings") -> Iterator[tuple[str, str]]:
    """Yield the name of each secret that is set, and what is wrong with it or ""."""
    yield "JWT_SECRET", signing_weakness(settings.jwt_secret.get_secret_value())
    for previous in settings.jwt_previous_secrets:
        yield "JWT_PREVIOUS_SECRETS", signing_weakness(previous.get_secret_value())
    yield "GOOGLE_CLIENT_SECRET", issued_weakness(settings.google_client_secret.get_secret_value())
    if settings.payment_provider == "stripe":
        key, webhook = settings.stripe_secret_key, settings.stripe_webhook_secret
        is_test = key.get_secret_value()[3:].startswith("test_")
        if is_test and settings.app_env == "production":
            yield "STRIPE_SECRET_KEY", "is a test key: seats would be sold, and no money move"
        yield "STRIPE_SECRET_KEY", placeholder_in(key.get_secret_value())
        yield "STRIPE_WEBHOOK_SECRET", placeholder_in(webhook.get_secret_value())
    yield "SMTP_URL", placeholder_in(_password_in(settings.smtp_url.get_secret_value()))
    yield "MONGO_URI", placeholder_in(_password_in(settings.mongo_uri))
    yield "REDIS_URL", placeholder_in(_password_in(settings.redis_url))


def _password_in(url: str) -> str:
    """Return the password of an address, or "" where it has none or is none."""
    credentials = url.partition("://")[2].partition("/")[0].rpartition("@")[0]
    return unquote(credentials.partition(":")[2])


def _check_public_url(settings: "Settings") -> None:
    parts = urlsplit(settings.public_url)
    if parts.scheme not in ("http", "https"):
        raise SettingsError("PUBLIC_URL: needs http:// or https://")
    in_the_clear = parts.scheme == "http" and parts.hostname not in _LOOPBACK
    if in_the_clear and settings.app_env == "production":
        raise SettingsError("PUBLIC_URL: needs https:// in production, unless it is loopback")


def doubts(settings: "Settings") -> list[str]:
    """Return what may be meant so, and had better be known: a line each, outside development.

    Stores inside a private network often have no password, so that none is no reason to refuse.
    """
    if settings.is_development:
        return []
    addresses = {"MONGO_URI": settings.mongo_uri, "REDIS_URL": settings.redis_url}
    return [
        f"{name}: holds no password; whoever reaches the store may change it"
        for name, url in addresses.items()
        if not _password_in(url) and not any(host in url for host in _LOOPBACK)
    ]


def _check_stripe(settings: "Settings") -> None:
    """Whoever takes payments by Stripe has its secrets, and sends them nowhere in the clear."""
    if settings.payment_provider != "stripe":
        return
    required = {
        "STRIPE_SECRET_KEY": (settings.stripe_secret_key, ("sk_", "rk_")),
        "STRIPE_WEBHOOK_SECRET": (settings.stripe_webhook_secret, ("whsec_",)),
    }
    for name, (secret, prefixes) in required.items():
        if not secret.get_secret_value():
            raise SettingsError(f"{name}: required when PAYMENT_PROVIDER is stripe")
        if not secret.get_secret_value().startswith(prefixes):
            raise SettingsError(f"{name}: begins with {' or '.join(prefixes)}")
    base = settings.stripe_api_base
    schemes = ("http://", "https://") if settings.is_development else ("https://",)
    if base and not base.startswith(schemes):
        raise SettingsError(f"STRIPE_API_BASE: needs {' or '.join(schemes)}")
