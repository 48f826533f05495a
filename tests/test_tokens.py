"""Access tokens: what is in them, and every forgery that must not pass."""

import base64
import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from server.auth import tokens
from server.auth.tokens import AccessTokens
from server.errors import Unauthenticated
from server.models import ID, Identity
from server.repo.users import User
from tests.auth_flow import JWT_SECRET, provider_for, settings_for

ADA = User(id="usr_ada", email="ada@example.com", name="Ada", role="ADMIN")
RSA_KEY = rsa.generate_private_key(65537, 2048)


@pytest.fixture
def access() -> AccessTokens:
    return AccessTokens(settings_for())


def parts_of(token):
    return jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})


def forge(access, key=JWT_SECRET, algorithm="HS256", head=None, without=None, **claims):
    """Return a token like ours with these changes, well signed unless `key` is another."""
    header, body = parts_of(access.mint(ADA)[0])
    body = {name: value for name, value in {**body, **claims}.items() if name != without}
    del header["alg"]  # it would win over `algorithm`
    return jwt.encode(body, key, algorithm, {**header, **(head or {})})


def refused(access, token):
    with pytest.raises(Unauthenticated):
        access.verify(token)
    return True


def test_a_token_says_who_may_do_what_and_for_how_long(access):
    token, expires_in = access.mint(ADA)
    header, body = parts_of(token)
    assert expires_in == 900
    assert header == {"alg": "HS256", "typ": "at+jwt", "kid": header["kid"]}
    assert set(body) == {"iss", "aud", "sub", "role", "iat", "nbf", "exp", "jti"}
    assert (body["sub"], body["role"]) == ("usr_ada", "ADMIN")
    assert body["iat"] == body["nbf"] == body["exp"] - 900
    assert abs(body["iat"] - time.time()) < 5
    assert ID.fullmatch(body["jti"])
    assert JWT_SECRET not in str(header)


def test_a_token_comes_back_as_the_identity(access):
    token = access.mint(ADA)[0]
    assert access.verify(token) == access.verify(token) == Identity("usr_ada", "ADMIN")


def test_no_two_tokens_are_the_same(access):
    assert len({access.mint(ADA)[0] for _ in range(50)}) == 50


def test_another_server_with_the_same_secret_accepts_it():
    one, other = AccessTokens(settings_for()), AccessTokens(settings_for(port=8001))
    assert other.verify(one.mint(ADA)[0]) == Identity("usr_ada", "ADMIN")


def test_a_sound_forgery_passes_so_that_the_others_fail_for_their_own_reason(access):
    assert access.verify(forge(access)) == Identity("usr_ada", "ADMIN")


NOW = int(time.time())
FORGERIES = {
    "other audience": {"aud": "another"},
    "our audience among others": {"aud": [tokens.AUDIENCE, "another"]},
    "other issuer": {"iss": "https://evil.test"},
    "expired": {"exp": NOW - 1},
    "expired by far": {"exp": NOW - 100_000, "iat": NOW - 100_900, "nbf": NOW - 100_900},
    "not yet": {"nbf": NOW + 86_400},
    "from the future": {"iat": NOW + 86_400},
    "subject that is no text": {"sub": 7},
    "unknown role": {"role": "ROOT"},
    "role that is no text": {"role": ["ADMIN"]},
    "expiry that is no number": {"exp": "never"},
    "other type": {"head": {"typ": "JWT"}},
    "no type": {"head": {"typ": None}},
    "other key id": {"head": {"kid": "another"}},
    "path as key id": {"head": {"kid": "../../dev/null"}},
    "other secret": {"key": "another-secret-that-is-long-enough-as-well"},
    "public key algorithm": {"algorithm": "RS256", "key": RSA_KEY},
    **{
        f"without {name}": {"without": name}
        for name in ("iss", "aud", "sub", "role", "iat", "nbf", "exp", "jti")
    },
}


@pytest.mark.parametrize("changes", FORGERIES.values(), ids=FORGERIES)
def test_a_forgery_is_refused(access, changes):
    assert refused(access, forge(access, **changes))


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_the_same_secret_under_another_algorithm_is_refused(algorithm):
    secret = "s" * 64
    access = AccessTokens(settings_for(jwt_secret=secret))
    forged = forge(access, secret, algorithm)
    assert jwt.get_unverified_header(forged)["alg"] == algorithm
    assert refused(access, forged)


def with_header(token, **changes):
    head, body, signature = token.split(".")
    header = {**json.loads(base64.urlsafe_b64decode(head + "==")), **changes}
    head = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    return f"{head}.{body}.{signature}"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE"])
def test_an_unsigned_token_is_refused(access, algorithm):
    head, body, signature = with_header(access.mint(ADA)[0], alg=algorithm).split(".")
    assert refused(access, f"{head}.{body}.")
    assert refused(access, f"{head}.{body}.{signature}")
    assert refused(access, f"{head}.{body}")


def test_a_changed_claim_breaks_the_signature(access):
    head, _, signature = access.mint(User("usr_eve", "", "", "USER"))[0].split(".")
    body = forge(access).split(".")[1]
    assert refused(access, f"{head}.{body}.{signature}")


def test_every_truncation_is_refused(access):
    token = access.mint(ADA)[0]
    assert all(refused(access, token[:length]) for length in range(len(token)))


@pytest.mark.parametrize(
    "token", ["", ".", "..", "a.b.c", "\u2603", "\udcff", "x" * 20_000, "{}", "null"]
)
def test_rubbish_is_refused(access, token):
    assert refused(access, token)


def test_an_id_token_is_no_access_token(access):
    """Neither the provider's, nor one signed with our own secret."""
    provider = provider_for(settings_for())
    claims = {"iss": "rowlock", "aud": tokens.AUDIENCE, "sub": "usr_ada", "role": "ADMIN"}
    claims |= {"iat": NOW, "nbf": NOW, "exp": NOW + 300, "jti": "x"}
    assert refused(access, provider.sign(claims))
    assert refused(access, forge(access, head={"typ": "JWT"}))


def test_a_remembered_token_expires_all_the_same():
    clock = [time.time()]
    access = AccessTokens(settings_for(jwt_ttl=60), clock=lambda: clock[0])
    token = access.mint(ADA)[0]
    assert access.verify(token)
    clock[0] += 59
    assert access.verify(token)
    clock[0] += 1
    assert refused(access, token)


def test_a_verified_token_is_not_verified_again_and_a_refused_one_always_is(access, monkeypatch):
    calls = []
    real = jwt.decode_complete
    monkeypatch.setattr(jwt, "decode_complete", lambda *a, **k: calls.append(a) or real(*a, **k))
    token, forged = access.mint(ADA)[0], forge(access, aud="another")
    for _ in range(3):
        access.verify(token)
        refused(access, forged)
    assert len(calls) == 1 + 3


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(tokens, "_REMEMBERED", 8)
    access = AccessTokens(settings_for())
    minted = [access.mint(ADA)[0] for _ in range(50)]
    assert all(access.verify(token) for token in minted)
    assert len(access._verified) == 8
    assert access.verify(minted[0])  # forgotten, and found good again
