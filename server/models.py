"""Small values that every room shares: ids, times, money, identities."""

import re
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
SeatId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,16}$")]
Role = Literal["USER", "BOX_OFFICE", "ADMIN"]


class Model(BaseModel):
    """A body as it comes in: unknown fields refused, nothing coerced."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Money(Model):
    """An amount in minor units (cents) of an ISO 4217 currency."""

    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
    minor: int

    def as_json(self) -> dict[str, str | int]:
        return {"currency": self.currency, "minor": self.minor}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls, proven by an access token."""

    user_id: str
    role: Role
    session_id: str = ""
    """The session that the token was minted for."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who acts and under which request id, for locks, bookings and their audit entries."""

    user_id: str
    request_id: str
    address: str = ""
    """Where the call came from, if that counts: an address may lock only so many seats."""


def new_id(prefix: str) -> str:
    """Return an id whose order is its age: 48 bits of time, then 80 random bits."""
    return f"{prefix}_{int(time.time() * 1000):012x}{secrets.token_hex(10)}"


def rfc3339(moment: datetime) -> str:
    """Render as RFC 3339 UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def from_ms(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def to_ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
