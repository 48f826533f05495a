"""ID tokens that prove nothing: wrong claims, forged signatures, none at all."""

import base64
import hmac
import json
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jws, jwt
from joserfc.jwk import ECKey, KeySet, RSAKey
from starlette.responses import JSONResponse

from server.auth.development import CLIENT_ID, DevelopmentProvider
from tests.auth_flow import (
    ORIGIN,
    SIGNING_KEY,
    auth_for,
    browser_for,
    sign_in,
    to_callback,
)
from tests.signin_refusals import refuse, signed_by, with_claims

ELLIPTIC_KEY = ECKey.generate_key("P-256", auto_kid=True)
FOREIGN_KEY = RSAKey.generate_key(2048, auto_kid=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "another"},
        {"nonce": ...},
        {"aud": "another-client"},
        {"aud": "another-client", "azp": CLIENT_ID},
        {"aud": [CLIENT_ID, "another-client"]},
        {"aud": CLIENT_ID, "azp": "another-client"},
        {"aud": ...},
        {"aud": [CLIENT_ID, "another-client"], "azp": "another-client"},
        {"aud": ["another-client"], "azp": CLIENT_ID},
        {"aud": CLIENT_ID, "azp": ""},
        {"aud": CLIENT_ID, "azp": None},
        {"aud": []},
        {"nbf": int(time.time()) + 3600},
        {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
        {"iss": "https://evil.test"},
        {"iss": f"{ORIGIN}/dev/oidc/"},
        {"iss": ...},
        {"exp": int(time.time()) - 3600},
        {"exp": ...},
        {"exp": "tomorrow"},
        {"iat": int(time.time()) + 3600},
        {"sub": ...},
        {"sub": ""},
        {"sub": 7},
        {"sub": {"$ne": None}},
        {"email": ""},
        {"email": ["ada@example.com"]},
        {"email": "x" * 400 + "@example.com"},
    ],
    ids=" ".join,  # the same in every process: times are not
)
async def test_an_id_token_with_a_wrong_claim_is_refused(database, changes):
    async with browser_for(auth_for(database, kind=with_claims(**changes))) as browser:
        await refuse(database, browser, await to_callback(browser), "identity_invalid", {})


def unsigned(claims):
    body = jwt.encode({"alg": "RS256"}, claims, SIGNING_KEY).split(".")[1]
    return f"eyJhbGciOiJub25lIn0.{body}."


def with_broken_signature(claims):
    head, body, signature = jwt.encode(
        {"alg": "RS256", "kid": SIGNING_KEY.kid}, claims, SIGNING_KEY
    ).split(".")
    return f"{head}.{body}.{signature[:-8]}AAAAAAAA"


def with_unknown_extension(claims):
    head = {"alg": "RS256", "kid": SIGNING_KEY.kid, "crit": ["exp-x"], "exp-x": 1}
    text = f"{b64url(json.dumps(head).encode())}.{b64url(json.dumps(claims).encode())}"
    signature = SIGNING_KEY.private_key.sign(text.encode(), PKCS1v15(), SHA256())
    return f"{text}.{b64url(signature)}"


def by_public_key_as_secret(claims):
    return by_secret(claims, SIGNING_KEY.as_pem(private=False))


def by_secret(claims, secret):
    _, body, _ = jwt.encode({"alg": "RS256"}, claims, SIGNING_KEY).split(".")
    head = b64url(json.dumps({"alg": "HS256", "kid": SIGNING_KEY.kid}).encode())
    signature = hmac.digest(secret, f"{head}.{body}".encode(), "sha256")
    return f"{head}.{body}.{b64url(signature)}"


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


FORGERIES = {
    "foreign key": lambda c: jwt.encode({"alg": "RS256"}, c, FOREIGN_KEY),
    "foreign key under our id": lambda c: jwt.encode(
        {"alg": "RS256", "kid": SIGNING_KEY.kid}, c, FOREIGN_KEY
    ),
    "unknown key id": lambda c: jwt.encode({"alg": "RS256", "kid": "new"}, c, SIGNING_KEY),
    "foreign key in the header": lambda c: jwt.encode(
        {"alg": "RS256", "jwk": FOREIGN_KEY.as_dict(private=False)}, c, FOREIGN_KEY
    ),
    "another algorithm": lambda c: jwt.encode(
        {"alg": "RS512", "kid": SIGNING_KEY.kid}, c, SIGNING_KEY, algorithms=["RS512"]
    ),
    "unsigned": unsigned,
    "elliptic key that nobody published": lambda c: jwt.encode({"alg": "ES256"}, c, ELLIPTIC_KEY),
    "key address in the header": lambda c: jwt.encode(
        {"alg": "RS256", "jku": "https://evil.test/jwks", "kid": FOREIGN_KEY.kid}, c, FOREIGN_KEY
    ),
    "extension that nobody knows": with_unknown_extension,
    "broken signature": with_broken_signature,
    "public key as secret": by_public_key_as_secret,
    "no token": lambda c: None,
    "no text": lambda c: {"a": 1},
    "number": lambda c: 7,
    "empty": lambda c: "",
    "rubbish": lambda c: "a.b.c",
    "claims that are no object": lambda c: jws.serialize_compact(
        {"alg": "RS256", "kid": SIGNING_KEY.kid}, b"[]", SIGNING_KEY
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forged_id_token_is_refused(database, forgery):
    async with browser_for(auth_for(database, kind=signed_by(FORGERIES[forgery]))) as browser:
        await refuse(database, browser, await to_callback(browser), "identity_invalid", {})


def promising_all_algorithms(kind):
    """A provider that names every algorithm there is as its own."""

    class Promising(kind):
        async def discovery(self, request):
            body = json.loads((await super().discovery(request)).body)
            names = ["none", "HS256", "RS256", "RS384", "RS512", "PS256", "ES256", "EdDSA"]
            return JSONResponse({**body, "id_token_signing_alg_values_supported": names})

    return Promising


@pytest.mark.parametrize("forgery", ["unsigned", "another algorithm", "public key as secret"])
async def test_the_provider_does_not_choose_what_we_accept(database, forgery):
    kind = promising_all_algorithms(signed_by(FORGERIES[forgery]))
    async with browser_for(auth_for(database, kind=kind)) as browser:
        await refuse(database, browser, await to_callback(browser), "identity_invalid", {})


async def test_our_own_secret_signs_nobody_in(database):
    class Symmetric(DevelopmentProvider):
        def sign(self, claims):
            return by_secret(claims, self.client_secret.encode())

    kind = promising_all_algorithms(Symmetric)
    async with browser_for(auth_for(database, kind=kind)) as browser:
        await refuse(database, browser, await to_callback(browser), "identity_invalid", {})


async def test_an_answer_without_id_token_is_refused(database):
    class WithoutIdentity(DevelopmentProvider):
        async def token(self, request):
            answer = await super().token(request)
            body = json.loads(answer.body)
            del body["id_token"]
            return JSONResponse(body)

    async with browser_for(auth_for(database, kind=WithoutIdentity)) as browser:
        await refuse(database, browser, await to_callback(browser), "identity_invalid", {})


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ([], 200, "provider_unavailable"),
        ("text", 200, "provider_unavailable"),
        ({}, 200, "identity_invalid"),
        ({"error": "invalid_grant"}, 400, "provider_refused"),
        ({"error": {"a": 1}}, 200, "provider_refused"),
        ({}, 503, "provider_unavailable"),
    ],
)
async def test_a_strange_answer_to_the_code_is_refused(database, body, status, reason):
    class Strange(DevelopmentProvider):
        async def token(self, request):
            return JSONResponse(body, status)

    async with browser_for(auth_for(database, kind=Strange)) as browser:
        await refuse(database, browser, await to_callback(browser), reason, {})


async def test_a_token_for_several_audiences_is_good_when_it_was_issued_to_us(database):
    kind = with_claims(aud=["another-client", CLIENT_ID], azp=CLIENT_ID)
    async with browser_for(auth_for(database, kind=kind)) as browser:
        assert (await sign_in(browser)).headers["location"] == "/"


async def test_an_elliptic_key_signs_as_well(database):
    class Elliptic(DevelopmentProvider):
        async def jwks(self, request):
            return JSONResponse(KeySet([SIGNING_KEY, ELLIPTIC_KEY]).as_dict(private=False))

        def sign(self, claims):
            return jwt.encode({"alg": "ES256", "kid": ELLIPTIC_KEY.kid}, claims, ELLIPTIC_KEY)

        async def discovery(self, request):
            body = json.loads((await super().discovery(request)).body)
            del body["id_token_signing_alg_values_supported"]
            return JSONResponse(body)

    async with browser_for(auth_for(database, kind=Elliptic)) as browser:
        assert (await sign_in(browser)).headers["location"] == "/"
