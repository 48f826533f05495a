"""The OpenID Connect client: out to the provider and back (authorization code, PKCE S256).

Authlib does the protocol. Its session is not used: what has to survive the trip is handed to the
caller, who keeps it in the store.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import httpx2
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.starlette_client import OAuth
from joserfc.errors import JoseError

from server.settings import Settings

# At DEBUG Authlib writes the PKCE verifier into the log.
logging.getLogger("authlib").setLevel(logging.INFO)

Reason = Literal[
    "access_denied",  # the person said no
    "state_invalid",  # the way back does not belong to a sign-in that this browser began
    "provider_refused",  # the provider reported an error or refused the code
    "provider_unavailable",  # the provider does not answer, or not sensibly
    "identity_invalid",  # the ID token does not prove who this is
    "store_unavailable",
]

_ID_TOKEN_ALGORITHMS = ["RS256"]
"""Every provider must offer it (OpenID Connect Core, section 15.1), and Google uses it."""
_CLOCK_SKEW = 60
_TIMEOUT = 10.0
_MAX_NAME = 100
_MAX_EMAIL = 320

_UNPROVEN = (AuthlibBaseError, JoseError, ValueError, TypeError, LookupError, AttributeError)
"""What comes out of a broken or forged ID token, or out of broken keys."""


class SignInFailed(Exception):
    """Nobody was signed in."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Authorization:
    """Where to send the browser, and what its return is checked against."""

    url: str
    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True, slots=True)
class Person:
    """Who signed in, in the provider's words. (`provider`, `sub`) is the identity."""

    provider: str
    sub: str
    email: str
    email_verified: bool
    name: str


class OpenIDClient:
    """`origin` is set when the provider lives in this server: its pages are then found under
    whatever origin the browser uses, and `transport` leads to it without leaving the process."""

    def __init__(
        self,
        discovery_url: str,
        client_id: str,
        client_secret: str,
        *,
        origin: str = "",
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._client_id = client_id
        self._origin = origin
        # Built once: loading the trusted certificates takes longer than a sign-in.
        network = {"transport": transport} if transport else {"verify": httpx2.create_ssl_context()}
        self._provider = OAuth().register(
            "provider",
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
        secret = settings.google_client_secret.get_secret_value()
        return cls(settings.discovery_url, settings.google_client_id, secret)

    async def authorize(self, origin: str, redirect_uri: str, login_hint: str) -> Authorization:
        """Begin a sign-in of a browser that sees this server as `origin`. Raises SignInFailed."""
        hint = {"login_hint": login_hint} if login_hint else {}
        try:
            begun = await self._provider.create_authorization_url(redirect_uri, **hint)
        except (httpx2.HTTPError, RuntimeError, ValueError, TypeError) as error:
            raise SignInFailed("provider_unavailable") from error
        url = begun["url"]
        if self._origin:
            url = origin + url.removeprefix(self._origin)
        return Authorization(url, begun["state"], begun["nonce"], begun["code_verifier"])

    async def redeem(self, code: str, redirect_uri: str, verifier: str, nonce: str) -> Person:
        """Exchange `code` for an ID token and return whom it names. Raises SignInFailed."""
        try:
            answer = await self._provider.fetch_access_token(
                redirect_uri, code=code, code_verifier=verifier
            )
        except AuthlibBaseError as error:
            raise SignInFailed("provider_refused") from error
        except (httpx2.HTTPError, ValueError, TypeError) as error:
            raise SignInFailed("provider_unavailable") from error
        return _person(await self._claims(answer, nonce))

    async def _claims(self, answer: Mapping[str, Any], nonce: str) -> Mapping[str, Any]:
        """Return the claims of the ID token: signature, iss, aud, exp, iat and nonce checked."""
        try:
            metadata = await self._provider.load_server_metadata()
            metadata["id_token_signing_alg_values_supported"] = _ID_TOKEN_ALGORITHMS
            issuer = metadata["issuer"]
            expected = {
                # Google signs with and without the scheme.
                "iss": {"essential": True, "values": [issuer, issuer.removeprefix("https://")]},
                "aud": {"essential": True, "value": self._client_id},
            }
            claims: Mapping[str, Any] | None = await self._provider.parse_id_token(
                answer, nonce, claims_options=expected, leeway=_CLOCK_SKEW
            )
        except httpx2.HTTPError as error:
            raise SignInFailed("provider_unavailable") from error
        except _UNPROVEN as error:
            raise SignInFailed("identity_invalid") from error
        if claims is None:  # the answer holds no ID token
            raise SignInFailed("identity_invalid")
        # The built-in provider's people are the same people when the server moves to another port.
        return {**claims, "iss": issuer.removeprefix(self._origin)}


def _person(claims: Mapping[str, Any]) -> Person:
    sub, email = claims["sub"], _line(claims.get("email"))
    if not sub or not 3 <= len(email) <= _MAX_EMAIL or "@" not in email:
        raise SignInFailed("identity_invalid")
    return Person(
        provider=claims["iss"],
        sub=sub,
        email=email,
        email_verified=claims.get("email_verified") is True,
        name=_line(claims.get("name"))[:_MAX_NAME] or email.partition("@")[0],
    )


def _line(value: object) -> str:
    """Return a claim as one line of visible text."""
    words = value.split() if isinstance(value, str) else []
    return "".join(character for character in " ".join(words) if character.isprintable())
