"""Local accounts for tests: people with passwords, cheap hashes, tries on a clock of our own."""

import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher, extract_parameters

from server.auth.build import Auth, build_auth
from server.auth.passwords import Passwords
from server.models import new_id
from server.repo.mongo import Database
from tests.auth_flow import provider_for, settings_for

PASSWORD = "seven grey herons at dawn"
ANOTHER = "nine red kites over hills"
REGISTER, LOGIN, CHANGE = "/api/auth/register", "/api/auth/login", "/api/auth/password"

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Of the same kind as the real one, in microseconds."""


@pytest.fixture(scope="module", autouse=True)
def cheap_hashes() -> Iterator[None]:
    """Whole servers of a module that imports this hash cheaply, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "server.auth.passwords.RFC_9106_LOW_MEMORY", extract_parameters(CHEAP.hash(""))
        )
        yield


class CountingHasher(PasswordHasher):
    """Cheap, and counts how often it hashed and verified."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.hashed = self.verified = 0

    def hash(self, password: str | bytes, **more: Any) -> str:
        self.hashed += 1
        return super().hash(password, **more)

    def verify(self, kept: str | bytes, password: str | bytes) -> bool:
        self.verified += 1
        return super().verify(kept, password)


class TriesOnAClock:
    """The tries of each account, as the server counts them, but at `now`, in seconds."""

    def __init__(self, tries: int = 10, seconds: int = 300) -> None:
        self.now = 0.0
        self.refused: list[str] = []
        self._tries, self._seconds = tries, seconds
        self._full_at: dict[str, float] = {}

    @property
    def names(self) -> set[str]:
        return set(self._full_at)

    async def count(self, name: str, *, account: str, lenience: int = 1) -> SimpleNamespace:
        pace = self._seconds / lenience
        full_at = max(self.now, self._full_at.get(account, 0.0)) + pace
        wait = full_at - self.now - self._tries * self._seconds
        if wait > 0:
            self.refused.append(account)
        else:
            self._full_at[account] = full_at
        return SimpleNamespace(retry_after=max(0, math.ceil(wait)))

    async def forgive(self, name: str, *, account: str) -> None:
        self._full_at.pop(account, None)


def accounts_for(
    database: Database, hasher: PasswordHasher = CHEAP, tries: Any = None, **changes: Any
) -> Auth:
    """All of sign-in, with cheap hashes, and tries without end unless some are given."""
    settings = settings_for(**changes)
    return build_auth(
        settings, database, provider_for(settings), tries=tries, passwords=Passwords(hasher)
    )


@asynccontextmanager
async def stranger(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with an empty cookie jar."""
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        yield client


def an_email(name: str = "person") -> str:
    """Return an address that no other test uses."""
    return f"{name}-{new_id('m')[2:]}@example.com"


async def register(
    client: httpx.AsyncClient, email: str = "", password: str = PASSWORD, name: str = "Pat Doe"
) -> str:
    """Make a local account, let `client` carry its access token, and return its mail address."""
    email = email or an_email()
    body = {"email": email, "password": password, "name": name}
    answer = await client.post(REGISTER, json=body)
    assert answer.status_code == 201, answer.text
    client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    return email


async def log_in(client: Any, email: str, password: str = PASSWORD, **more: Any) -> Any:
    return await client.post(LOGIN, json={"email": email, "password": password}, **more)
