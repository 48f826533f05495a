"""Whoever asks the server by HTTP: measured, patient when told to wait, signed in when need be."""

import asyncio
import secrets
import ssl
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2

from server.crowd.figures import Figures
from server.detached import Detached

_PROVIDER = "/dev/oidc"
_SECONDS = 30.0
_STEPS = 3
"""Of a sign-in: to the provider, back to the server, to the page."""
_LONGEST_WAIT = 60.0
_LAST_WORD_SECONDS = 2.0

Answer = httpx2.Response


class CrowdError(Exception):
    """The crowd cannot come; the message is one line for a person."""


class Away(Exception):
    """The server did not answer."""


class Visitor:
    """One browser: cookies and an access token of its own."""

    def __init__(self, server: str, figures: Figures, trust: ssl.SSLContext) -> None:
        self._server = server
        self._figures = figures
        self._trust = trust
        self._email = ""
        self._browser = httpx2.AsyncClient(
            base_url=server, timeout=_SECONDS, verify=trust, trust_env=False
        )
        self._asked = Detached()

    def companion(self) -> "Visitor":
        """Return another visitor of the same server."""
        return Visitor(self._server, self._figures, self._trust)

    async def settled(self) -> None:
        """Wait for the answer to a question whose asker was cancelled: it may have had its effect
        or have it yet. Not for long."""
        await self._asked.drain(_LAST_WORD_SECONDS)

    async def close(self) -> None:
        await self.settled()
        await self._browser.aclose()

    async def sign_in(self, email: str) -> None:
        """Go through the development provider and back. Raises Away when that is refused for now,
        CrowdError when there is no such provider."""
        self._email = email
        address = f"/api/auth/google/login?login_hint={email}"
        for step in range(_STEPS):
            answer = await self.call("sign in", "GET", address)
            address = answer.headers.get("location", "")
            if "auth_error=" in address:
                raise Away(address)
            if step == 0 and not urlsplit(address).path.startswith(_PROVIDER):
                raise CrowdError(
                    "the server has no development provider, so that no buyer can sign in:"
                    " is it in development? (--buyers 0 only watches)"
                )
        await self._refresh()

    async def call(self, name: str, method: str, path: str, body: Any = None) -> Answer:
        """Ask until there is an answer other than "wait"; a repeat has the same Idempotency-Key.

        Raises Away when the server does not answer.
        """
        headers = {"Idempotency-Key": secrets.token_hex(16)} if method == "POST" else {}
        while True:
            began = time.perf_counter()
            answer = await self._asked.run(self._answer(method, path, body, headers))
            if answer is None:
                self._figures.counts["unanswered"] += 1
                raise Away
            self._figures.calls[name].add((time.perf_counter() - began) * 1000)
            if answer.status_code in (429, 503):
                self._figures.counts["limited"] += 1
                await asyncio.sleep(asked_to_wait(answer.headers))
            elif answer.status_code == 401 and self._email and name != "refresh":
                await self._refresh()
            else:
                return answer

    async def _answer(
        self, method: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> Answer | None:
        try:
            return await self._browser.request(method, path, json=body, headers=headers)
        except httpx2.TransportError:
            return None

    async def _refresh(self) -> None:
        answer = await self.call("refresh", "POST", "/api/auth/refresh")
        if answer.status_code != 200:
            raise Away(f"{self._email} is not signed in")
        token = answer.json()["access_token"]
        self._browser.headers["Authorization"] = f"Bearer {token}"


def asked_to_wait(headers: Mapping[str, str]) -> float:
    """Return the seconds that an answer asks for, within reason."""
    try:
        return min(float(headers.get("retry-after", "1")), _LONGEST_WAIT)
    except ValueError:
        return 1.0
