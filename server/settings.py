"""The one reader of the environment. Everything else is handed a `Settings`."""

import os
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
