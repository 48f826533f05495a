"""The one reader of the environment. Everything else is handed a `Settings`."""

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

GOOGLE_DISCOVERY_URL = "https://accounts.google.com/.well-known/openid-configuration"
MIN_SECRET_LENGTH = 32
_PLACEHOLDER_WORDS = ("change", "placeholder", "example", "secret-here", "your-", "todo", "xxxx")

_ADDRESS = r"[^\s<>@]+@[^\s<>@]+"
_MAIL_FROM = re.compile(rf"{_ADDRESS}|[^<>\x00-\x1f]*<{_ADDRESS}>")

Names = Annotated[tuple[str, ...], NoDecode]
"""A comma-separated list in the environment."""


class SettingsError(Exception):
    """The configuration cannot be used; the message is one line that names the variable."""


class Settings(BaseSettings):
    """Typed configuration; `.env.example` documents each variable."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
    )

    app_env: Literal["development", "staging", "production"] = "development"
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    public_url: str = ""
    cors_origins: Names = ()
    mongo_uri: str = ""
    redis_url: str = ""
    jwt_secret: SecretStr = SecretStr("")
    jwt_ttl: int = Field(default=900, ge=1, le=86_400)
    google_client_id: str = ""
    google_client_secret: SecretStr = SecretStr("")
    google_redirect_url: str = ""
    oidc_discovery_url: str = ""
    admin_emails: Names = ()
    seat_lock_ttl: int = Field(default=300, ge=1, le=86_400)
    max_seats_per_user: int = Field(default=10, ge=1, le=1000)
    refund_hours: int = Field(default=0, ge=0, le=8760)
    background_work: Literal["on", "off"] = "on"
    smtp_url: SecretStr = SecretStr("")
    mail_from: str = ""
    almost_sold_out_percent: int = Field(default=90, ge=1, le=100)
    payment_provider: Literal["demo", "stripe"] = "demo"
    stripe_secret_key: SecretStr = SecretStr("")
    stripe_webhook_secret: SecretStr = SecretStr("")
    stripe_api_base: str = ""
    rate_limits: Literal["on", "off"] = "on"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    data_dir: Path = Path(".rowlock")

    @field_validator("cors_origins", "admin_emails", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @property
    def is_development(self) -> bool:
        return self.app_env == "development"

    @property
    def origin(self) -> str:
        """Scheme, host and port under which browsers reach this server."""
        return (self.public_url or f"http://localhost:{self.port}").rstrip("/")

    @property
    def uses_development_provider(self) -> bool:
        """True when people sign in at the built-in OpenID provider."""
        return self.is_development and not self.google_client_id

    @property
    def discovery_url(self) -> str:
        return self.oidc_discovery_url or GOOGLE_DISCOVERY_URL


def load() -> Settings:
    """Read `.env` and the environment; raises SettingsError with one line."""
    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).upper() if first["loc"] else "settings"
        raise SettingsError(f"{name}: {first['msg']}") from None
    _check_mail(settings)
    _check_stripe(settings)
    return _with_secrets(settings) if settings.is_development else _checked(settings)


def _with_secrets(settings: Settings) -> Settings:
    """In development a missing JWT_SECRET is made once and kept in the data directory."""
    if settings.jwt_secret.get_secret_value():
        return settings
    path = settings.data_dir / "jwt_secret"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _write_once(path, secrets.token_urlsafe(48))
        secret = path.read_text().strip()
    except OSError as error:
        raise SettingsError(f"DATA_DIR: cannot use {settings.data_dir}: {error.strerror}") from None
    return settings.model_copy(update={"jwt_secret": SecretStr(secret)})


def _write_once(path: Path, text: str) -> None:
    """Create `path` whole and private, or leave the one that another process made first."""
    with NamedTemporaryFile("w", dir=path.parent) as file:  # mode 0600
        file.write(text)
        file.flush()
        with suppress(FileExistsError):
            os.link(file.name, path)


def _check_mail(settings: Settings) -> None:
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


def _checked(settings: Settings) -> Settings:
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
        if any(word in value.lower() for word in _PLACEHOLDER_WORDS) and "SECRET" in name:
            raise SettingsError(f"{name}: still holds a placeholder")
    if len(required["JWT_SECRET"]) < MIN_SECRET_LENGTH:
        raise SettingsError(f"JWT_SECRET: needs at least {MIN_SECRET_LENGTH} characters")
    if urlsplit(settings.public_url).scheme not in ("http", "https"):
        raise SettingsError("PUBLIC_URL: needs http:// or https://")
    if settings.rate_limits == "off" and settings.app_env == "production":
        raise SettingsError("RATE_LIMITS: may be off only outside production")
    return settings


def _check_stripe(settings: Settings) -> None:
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
