"""The one reader of the environment. Everything else is handed a `Settings`."""

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address, ip_network
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from server.settings_checks import SettingsError as SettingsError
from server.settings_checks import check

GOOGLE_DISCOVERY_URL = "https://accounts.google.com/.well-known/openid-configuration"

Names = Annotated[tuple[str, ...], NoDecode]
"""A comma-separated list in the environment."""
Secrets = Annotated[tuple[SecretStr, ...], NoDecode]


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
    allowed_hosts: Names = ()
    trusted_proxies: Names = ()
    mongo_uri: str = Field(default="", repr=False)
    redis_url: str = Field(default="", repr=False)
    jwt_secret: SecretStr = SecretStr("")
    jwt_previous_secrets: Secrets = ()
    jwt_private_key_file: Path | None = None
    jwt_previous_public_keys: Names = ()
    jwt_ttl: int = Field(default=900, ge=1, le=86_400)
    google_client_id: str = ""
    google_client_secret: SecretStr = SecretStr("")
    google_redirect_url: str = ""
    oidc_discovery_url: str = ""
    oidc_hosted_domain: str = ""
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

    @field_validator(
        "cors_origins",
        "allowed_hosts",
        "trusted_proxies",
        "admin_emails",
        "jwt_previous_secrets",
        "jwt_previous_public_keys",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            ip_network(name)
        return names

    @property
    def is_development(self) -> bool:
        return self.app_env == "development"

    @property
    def secrets(self) -> list[str]:
        """JWT_SECRET, then those that others of our servers, or this one before, know instead."""
        known = (self.jwt_secret, *self.jwt_previous_secrets)
        return [secret.get_secret_value() for secret in known]

    @property
    def origin(self) -> str:
        """Scheme, host and port under which browsers reach this server."""
        return (self.public_url or f"http://localhost:{self.port}").rstrip("/")

    @property
    def uses_development_provider(self) -> bool:
        """True when people sign in at the built-in OpenID provider."""
        return self.is_development and not self.google_client_id

    @property
    def lets_the_network_in_as_anybody(self) -> bool:
        """True when others than this machine reach the built-in provider, which asks nobody for a
        password and has an ADMIN among its people."""
        return self.uses_development_provider and not self._listens_on_loopback

    @property
    def _listens_on_loopback(self) -> bool:
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"

    @property
    def discovery_url(self) -> str:
        return self.oidc_discovery_url or GOOGLE_DISCOVERY_URL


def environment_with(changes: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that gives a process these settings, and else ours."""
    return {**os.environ, **changes}


def load() -> Settings:
    """Read `.env` and the environment; raises SettingsError with one line."""
    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).upper() if first["loc"] else "settings"
        raise SettingsError(f"{name}: {first['msg']}") from None
    check(settings)
    return _with_secrets(settings) if settings.is_development else settings


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
