"""The provider as Authlib's client sees it, with what it publishes kept for a bounded time.

Authlib by itself keeps the metadata and the keys for ever, and asks for the keys anew whenever an
ID token names an unknown one.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from authlib.integrations.starlette_client import StarletteOAuth2App

from server.auth.kept import Kept

ALGORITHMS = ("RS256", "ES256")
"""What providers sign ID tokens with: every one offers the first (OpenID Connect Core, section
15.1), Google uses it. Both are asymmetric: no secret that we share with anybody signs people in."""

METADATA_TTL = 3600.0
KEYS_TTL = 3600.0
PAUSE = 10.0
"""Seconds. Keys are read again at once when an ID token names an unknown one, and then not for
PAUSE: a provider that rotates its keys is followed, one that makes up key ids is not."""

_WELL_KNOWN = "/.well-known/openid-configuration"
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_PROFILE = "userinfo_endpoint"
"""Which a provider may do without."""
_USED = (
    "issuer",
    *_ENDPOINTS,
    _PROFILE,
    "authorization_response_iss_parameter_supported",
)


class Provider(StarletteOAuth2App):  # type: ignore[misc]
    def __init__(
        self,
        *args: Any,
        patience: float,
        clock: Callable[[], float] = time.monotonic,
        **kwargs: Any,
    ) -> None:
        """`patience`: seconds that reading one document may take. Many wait for one reading, so
        it has to end even where the provider sends a byte now and then."""
        super().__init__(*args, **kwargs)
        self._patience = patience
        self._metadata = Kept(self._read_metadata, METADATA_TTL, PAUSE, clock)
        self._keys = Kept(self._read_keys, KEYS_TTL, PAUSE, clock)

    async def load_server_metadata(self) -> dict[str, Any]:
        """Return what the provider says of itself; raises httpx2.HTTPError, ValueError."""
        return await self._metadata.get()

    async def fetch_jwk_set(self, force: bool = False) -> dict[str, Any]:
        """Return its public keys; `force` is what Authlib says after an unknown key id."""
        return await (self._keys.newer() if force else self._keys.get())

    async def _read_metadata(self) -> dict[str, Any]:
        return _sound(await self._read(self._server_metadata_url), self._server_metadata_url)

    async def _read_keys(self) -> dict[str, Any]:
        metadata = await self.load_server_metadata()
        keys: dict[str, Any] = await self._read(metadata["jwks_uri"])
        return keys

    async def _read(self, address: str) -> Any:
        async with asyncio.timeout(self._patience), self._get_session() as client:
            answer = await client.request("GET", address, withhold_token=True)
            answer.raise_for_status()
            return answer.json()


def _sound(told: object, address: str) -> dict[str, Any]:
    """Return the part of the metadata that is used; raises ValueError when it cannot be right.

    A document speaks for the issuer whose address it has and for no other (OpenID Connect
    Discovery, section 4.3), and an https provider sends nobody to an http address.
    """
    if not isinstance(told, dict) or not isinstance(told.get("issuer"), str):
        raise ValueError("the discovery document names no issuer")
    is_well_known = address.endswith(_WELL_KNOWN)
    if is_well_known and told["issuer"].rstrip("/") != address.removesuffix(_WELL_KNOWN):
        raise ValueError("the discovery document speaks for another issuer")
    profile = () if told.get(_PROFILE) is None else (_PROFILE,)
    for name in (*_ENDPOINTS, *profile):
        if not _is_reachable(told.get(name), address):
            raise ValueError(f"the discovery document has no sound {name}")
    offered = told.get("id_token_signing_alg_values_supported", ALGORITHMS)
    used = {name: told[name] for name in _USED if name in told}
    used["id_token_signing_alg_values_supported"] = [a for a in ALGORITHMS if a in offered]
    return used | _client_authentication(told)


def _is_reachable(endpoint: object, address: str) -> bool:
    schemes = ("https://",) if address.startswith("https://") else ("https://", "http://")
    return isinstance(endpoint, str) and endpoint.startswith(schemes)


def _client_authentication(told: Mapping[str, Any]) -> dict[str, str]:
    """How the client proves itself: by the default of the protocol, unless only a form will do."""
    methods = told.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    form_only = "client_secret_basic" not in methods and "client_secret_post" in methods
    return {"token_endpoint_auth_method": "client_secret_post"} if form_only else {}
