"""The OpenID Connect client: out to the provider and back (authorization code, PKCE S256).

Authlib does the protocol. Its session is not used: what has to survive the trip is handed to the
caller, who keeps it in the store.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.starlette_client import OAuth
from joserfc.errors import JoseError

from server.auth.person import Person, person_of
from server.auth.provider import Provider
from server.auth.refusals import SignInFailed
from server.settings import Settings

# At DEBUG Authlib writes the PKCE verifier into the log.
logging.getLogger("authlib").setLevel(logging.INFO)

PATIENCE = 15.0
"""Seconds that a provider may take for all its answers to one step of ours."""
_TIMEOUT = 10.0
_CLOCK_SKEW = 60

_UNPROVEN = (AuthlibBaseError, JoseError, ValueError, TypeError, LookupError, AttributeError)
"""What comes out of a broken or forged ID token, or out of broken keys."""
_NOT_SENSIBLE = (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, ValueError, TypeError)
"""What comes out of a provider that does not answer, or that answers rubbish."""


@dataclass(frozen=True, slots=True)
class Authorization:
    """Where to send the browser, and what its return is checked against."""

    url: str
    state: str
    nonce: str
    verifier: str


class OpenIDClient:
    """`origin` is set when the provider lives in this server: its pages are then found under
    whatever origin the browser uses, and `transport` leads to it without leaving the process.
    `hosted_domain`, if any, is the organisation whose people alone may sign in (claim `hd`)."""

    def __init__(
        self,
        discovery_url: str,
        client_id: str,
        client_secret: str,
        *,
        origin: str = "",
        hosted_domain: str = "",
        transport: httpx2.AsyncBaseTransport | None = None,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client_id = client_id
        self._origin = origin
        self._hosted_domain = hosted_domain.lower()
        self._patience = patience
        # Built once: loading the trusted certificates takes longer than a sign-in.
        network = {"transport": transport} if transport else {"verify": httpx2.create_ssl_context()}
        self._provider = OAuth().register(
            "provider",
            client_cls=Provider,
            clock=clock,
            patience=patience * 2 / 3,  # so that a hopeless reading is over before its caller is
            client_id=client_id,
            client_secret=client_secret,
            server_metadata_url=discovery_url,
            client_kwargs={
                "scope": "openid email profile",
                "code_challenge_method": "S256",
                "timeout": _TIMEOUT,
                **network,
            },
        )

    @classmethod
    def from_settings(cls, settings: Settings) -> "OpenIDClient":
        return cls(
            settings.discovery_url,
            settings.google_client_id,
            settings.google_client_secret.get_secret_value(),
            hosted_domain=settings.oidc_hosted_domain,
        )

    async def authorize(self, origin: str, redirect_uri: str, login_hint: str) -> Authorization:
        """Begin a sign-in of a browser that sees this server as `origin`. Raises SignInFailed."""
        hints = {"login_hint": login_hint, "hd": self._hosted_domain}
        given = {name: value for name, value in hints.items() if value}
        async with self._answering():
            begun = await self._provider.create_authorization_url(redirect_uri, **given)
        url = begun["url"]
        if self._origin:
            url = origin + url.removeprefix(self._origin)
        return Authorization(url, begun["state"], begun["nonce"], begun["code_verifier"])

    async def check_issuer(self, told: str | None) -> None:
        """Raise SignInFailed unless the way back comes from this provider (RFC 9207).

        `told` is its parameter `iss`; it may be missing if the provider does not promise it.
        """
        async with self._answering():
            metadata = await self._provider.load_server_metadata()
        promised = metadata.get("authorization_response_iss_parameter_supported") is True
        if told != metadata["issuer"] and (promised or told is not None):
            raise SignInFailed("issuer_invalid")

    async def redeem(self, code: str, redirect_uri: str, verifier: str, nonce: str) -> Person:
        """Exchange `code` for an ID token and return whom it names. Raises SignInFailed."""
        async with self._answering():
            metadata = await self._provider.load_server_metadata()
            try:
                answer = await self._provider.fetch_access_token(
                    redirect_uri, code=code, code_verifier=verifier
                )
            except AuthlibBaseError as error:
                raise SignInFailed("provider_refused") from error
            claims = await self._proven(answer, nonce, metadata["issuer"])
            self._check_domain(claims)
            if "email" not in claims:
                claims = {**await self._profile(answer, claims["sub"]), **claims}
        # The built-in provider's people are the same people when the server moves to another port.
        provider = metadata["issuer"].removeprefix(self._origin)
        return person_of({**claims, "iss": provider})

    async def _proven(
        self, answer: Mapping[str, Any], nonce: str, issuer: str
    ) -> Mapping[str, Any]:
        """Return the claims of the ID token: signature, iss, aud, azp, exp, iat, nonce checked.

        A token for several audiences passes when `azp` says that it was issued to us.
        """
        expected = {
            # Google signs with and without the scheme.
            "iss": {"essential": True, "values": [issuer, issuer.removeprefix("https://")]},
            "aud": {"essential": True, "value": self._client_id},
        }
        try:
            claims: Mapping[str, Any] | None = await self._provider.parse_id_token(
                answer, nonce, claims_options=expected, leeway=_CLOCK_SKEW
            )
        except (httpx2.HTTPError, TimeoutError):
            raise
        except _UNPROVEN as error:
            raise SignInFailed("identity_invalid") from error
        if claims is None or claims.get("azp", self._client_id) != self._client_id:
            raise SignInFailed("identity_invalid")  # no ID token, or one for somebody else
        return claims

    def _check_domain(self, claims: Mapping[str, Any]) -> None:
        if self._hosted_domain and str(claims.get("hd", "")).lower() != self._hosted_domain:
            raise SignInFailed("domain_not_allowed")

    async def _profile(self, answer: Mapping[str, Any], sub: str) -> Mapping[str, Any]:
        """Ask for what the ID token leaves out, as many providers do (OpenID Connect Core, 5.4).

        The answer may speak of nobody but `sub` (section 5.3.2).
        """
        try:
            # Without its end: Authlib takes a token that lives for a minute for one that has ended.
            token = {name: answer[name] for name in ("access_token", "token_type")}
            profile: Mapping[str, Any] = await self._provider.userinfo(token=token)
        except (httpx2.HTTPError, TimeoutError):
            raise
        except _UNPROVEN as error:
            raise SignInFailed("identity_invalid") from error
        if profile.get("sub") != sub:
            raise SignInFailed("identity_invalid")
        return {name: profile.get(name) for name in ("email", "email_verified", "name")}

    @asynccontextmanager
    async def _answering(self) -> AsyncIterator[None]:
        """Make SignInFailed of a provider that does not answer in time, or not sensibly."""
        try:
            async with asyncio.timeout(self._patience):
                yield
        except (*_NOT_SENSIBLE, RuntimeError) as error:
            raise SignInFailed("provider_unavailable") from error
