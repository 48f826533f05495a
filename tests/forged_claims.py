"""Forged access tokens that a key of ours has signed, and whose trick is in what they claim."""

from typing import Any

from server.auth.tokens import AUDIENCE
from tests.forger import ABSENT, Forger, Named, misread, shown, with_
from tests.signing import json_of

TIMES = [None, "", "never", True, False, -1, 1.5, 1e300, 2**53, 10**40, [], {}, ABSENT]
TEXTS = [None, "", 7, True, [], {}, "a b", "a\0b", "$ne", "../x", "é", "a" * 65, "\ud800", ABSENT]
CLAIMS: dict[str, list[Any]] = {
    "iss": [*TEXTS, "https://evil.test", "rowlock/", "Rowlock", ["rowlock"], "rowlock\0"],
    "aud": [*TEXTS, "another", AUDIENCE.upper(), f"{AUDIENCE} ", [AUDIENCE], [AUDIENCE, "x"]],
    "sub": [*TEXTS, ["usr_ada"], {"$gt": ""}],
    "role": [*TEXTS, "ROOT", "admin", " ADMIN", "ADMIN ", ["ADMIN"], "USER,ADMIN"],
    "sid": [each for each in TEXTS if each != ""],
    "jti": [*TEXTS, ["x"]],
}


def said(forger: Forger) -> Named:
    for claim, values in CLAIMS.items():
        for value in values:
            changed = with_(forger.claims, claim, value)
            if changed != forger.claims:
                yield f"{claim}: {shown(value)}", forger.signed(None, changed)


def times(forger: Forger) -> Named:
    for claim in ("exp", "nbf", "iat"):
        for value in TIMES:
            yield (
                f"{claim}: {shown(value)}",
                forger.signed(None, with_(forger.claims, claim, value)),
            )
        text = str(forger.claims[claim])
        yield f"{claim} as text", forger.signed(None, forger.claims | {claim: text})
        yield f"{claim} with a fraction", forger.signed(None, forger.claims | {claim: float(text)})
    now = forger.now
    spans = {
        "expired": {"exp": now - 1},
        "expired long ago": {"iat": 1, "nbf": 1, "exp": 900},
        "not yet": {"nbf": now + 600},
        "from the future": {"iat": now + 600},
        "ended before it began": {"iat": now + 4, "exp": now + 3},
        "good for ten years": {"exp": now + 315_360_000},
        "in milliseconds": {"exp": now * 1000},
    }
    for name, span in spans.items():
        yield name, forger.signed(None, forger.claims | span)


def raw(forger: Forger) -> Named:
    claims = json_of(forger.claims)
    twice = {"role": '"USER"', "sub": '"usr_eve"', "exp": "1", "aud": '"x"', "iss": '"x"'}
    for claim, value in twice.items():
        first = f'{{"{claim}":{value},'.encode() + claims[1:]
        yield f"{claim} twice", forger.signed(None, first)
    for name, changed in misread(claims).items():
        yield f"payload {name}", forger.signed(None, changed)
    expiry = b'"exp":%d' % forger.claims["exp"]
    for number in (b"NaN", b"Infinity", b"-Infinity", b"1e400", b"0x7fffffff", b"1_000"):
        changed = claims.replace(expiry, b'"exp":' + number)
        yield f"exp {number.decode()}", forger.signed(None, changed)


def others(forger: Forger) -> Named:
    """Tokens that are good for something else."""
    identity = {
        "iss": "rowlock",
        "aud": "rowlock-development",
        "sub": "usr_ada",
        "iat": forger.now,
        "exp": forger.now + 300,
        "nonce": "n",
        "email": "ada@example.com",
        "email_verified": True,
    }
    yield "ID token of ours", forger.signed(with_(forger.header, "typ", "JWT"), identity)
    yield "ID token as access token", forger.signed(None, identity)
    yield "ID token for our audience", forger.signed(None, identity | {"aud": AUDIENCE})
    both = forger.claims | identity
    yield "ID token with all claims", forger.signed(None, both)
    yield (
        "ID token of the type JWT",
        forger.signed(with_(forger.header, "typ", "JWT"), forger.claims | {"nonce": "n"}),
    )
    yield "opaque", f"{'a' * 43}.{'b' * 43}"
