"""Access tokens: what is in them, and what of them is remembered."""

import time
import tracemalloc

import jwt
import pytest

from server.auth import tokens
from server.auth.development import CLIENT_ID, DevelopmentProvider
from server.auth.keys import KeyRing
from server.auth.tokens import AccessTokens
from server.errors import Unauthenticated
from server.models import ID, Identity
from server.repo.users import User
from tests.auth_flow import (
    JWT_SECRET,
    SIGNING_KEY,
    audit_of,
    auth_for,
    browser_for,
    settings_for,
    sign_in,
    stored,
)
from tests.signing import file_of

ADA = User(id="usr_ada", email="ada@example.com", name="Ada", role="ADMIN")


@pytest.fixture
def access() -> AccessTokens:
    return AccessTokens(settings_for())


@pytest.fixture
def clock():
    """One that stands still: clock[0] is the time."""
    return [time.time()]


def parts_of(token):
    return jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})


def refused(access, token):
    with pytest.raises(Unauthenticated):
        access.verify(token)
    return True


def test_a_token_says_who_may_do_what_and_for_how_long(access):
    token, expires_in = access.mint(ADA, "s" * 64)
    header, body = parts_of(token)
    assert expires_in == 900
    assert header == {"alg": "HS256", "typ": "at+jwt", "kid": header["kid"]}
    assert set(body) == {"iss", "aud", "sub", "role", "sid", "iat", "nbf", "exp", "jti"}
    assert (body["sub"], body["role"], body["sid"]) == ("usr_ada", "ADMIN", "s" * 64)
    assert body["iat"] == body["nbf"] == body["exp"] - 900
    assert abs(body["iat"] - time.time()) < 5
    assert ID.fullmatch(body["jti"])
    assert JWT_SECRET not in str(header)


def test_a_token_comes_back_as_the_identity(access):
    token = access.mint(ADA, "s")[0]
    assert access.verify(token) == access.verify(token) == Identity("usr_ada", "ADMIN", "s")


@pytest.mark.parametrize("role", ["USER", "BOX_OFFICE", "ADMIN"])
def test_every_role_can_be_carried(access, role):
    person = User("usr_x", "x@example.com", "X", role)
    assert access.verify(access.mint(person)[0]).role == role


def test_no_two_tokens_are_the_same(access):
    assert len({access.mint(ADA)[0] for _ in range(50)}) == 50


def test_another_server_with_the_same_secret_accepts_it():
    one, other = AccessTokens(settings_for()), AccessTokens(settings_for(port=8001))
    assert other.verify(one.mint(ADA)[0]) == Identity("usr_ada", "ADMIN")


def test_a_token_of_another_installation_is_refused_even_under_the_same_secret():
    ours, theirs = (AccessTokens(settings_for(public_url=f"https://{n}.test")) for n in "ab")
    assert refused(ours, theirs.mint(ADA)[0])


# -- an ID token is none, nor is it one -----------------------------------------------------------


async def test_an_access_token_is_no_id_token(database, tmp_path):
    """Not even when the provider's own key has signed it."""
    file = file_of(tmp_path, "key.pem", SIGNING_KEY.as_pem(private=True))
    settings = settings_for(jwt_private_key_file=file)
    minted = AccessTokens(settings).mint(ADA, "s")[0]

    class Confused(DevelopmentProvider):
        def sign(self, claims):
            return minted

    assert parts_of(minted)[1]["aud"] != CLIENT_ID
    async with browser_for(auth_for(database, settings, Confused)) as browser:
        answer = await sign_in(browser)
        assert "auth_error=identity_invalid" in answer.headers["location"]
    assert (await stored(database))["sessions"] == 0
    assert ("auth.failed", "refused", "identity_invalid") in await audit_of(database)


async def test_an_id_token_is_no_access_token(database, tmp_path):
    """Not even when it is signed by a key of the ring, and names it."""
    file = file_of(tmp_path, "key.pem", SIGNING_KEY.as_pem(private=True))
    settings = settings_for(jwt_private_key_file=file)
    seen = []

    class Watched(DevelopmentProvider):
        def sign(self, claims):
            seen.append(super().sign(claims))
            return seen[-1]

    async with browser_for(auth_for(database, settings, Watched)) as browser:
        await sign_in(browser)
    (issued,) = seen
    assert parts_of(issued)[0]["kid"] == KeyRing.from_settings(settings).current.id
    assert refused(AccessTokens(settings), issued)


# -- what is remembered ---------------------------------------------------------------------------


def test_a_remembered_token_expires_all_the_same(clock):
    access = AccessTokens(settings_for(jwt_ttl=60), clock=lambda: clock[0])
    token = access.mint(ADA)[0]
    assert access.verify(token)
    clock[0] += 59
    assert access.verify(token)
    clock[0] += 1
    assert refused(access, token)
    assert not access._verified


def test_what_has_expired_is_forgotten_though_nobody_asks_for_it(clock):
    access = AccessTokens(settings_for(jwt_ttl=60), clock=lambda: clock[0])
    for _ in range(20):
        access.verify(access.mint(ADA)[0])
    clock[0] += 61
    last = access.mint(ADA)[0]
    access.verify(last)
    assert list(access._verified) == [last]


def test_a_verified_token_is_not_verified_again_and_a_refused_one_always_is(access, monkeypatch):
    calls = []
    real = access._decode
    monkeypatch.setattr(access, "_decode", lambda token: calls.append(token) or real(token))
    token, forged = access.mint(ADA)[0], AccessTokens(settings_for(public_url="x")).mint(ADA)[0]
    for _ in range(3):
        access.verify(token)
        refused(access, forged)
    assert calls.count(token) == 1
    assert calls.count(forged) == 3


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(tokens, "_REMEMBERED", 8)
    access = AccessTokens(settings_for())
    minted = [access.mint(ADA)[0] for _ in range(50)]
    assert all(access.verify(token) for token in minted)
    assert list(access._verified) == minted[-8:]
    assert access.verify(minted[0])  # forgotten, and found good again


def test_forgeries_take_no_room(access):
    refused(access, "x" * 4000)
    tracemalloc.start()
    for number in range(2000):
        refused(access, f"{number:04000}")
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 100_000
