"""Forged access tokens that trick by their header: algorithm, type, key and its whereabouts."""

from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.forger import ABSENT, Forger, Named, misread, shown, with_
from tests.signing import FOREIGN_ED_KEY, b64, compact, json_of

UNSIGNED = ["none", "None", "NONE", "nOnE", "none ", " none", "none\0", "", None, 0, [], {}, ABSENT]
ALGORITHMS = [
    *("HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "ES256", "ES256K", "EdDSA"),
    *(
        "Ed25519",
        "Ed448",
        "hs256",
        "rs256",
        "eddsa",
        "HS256 ",
        "dir",
        "A256KW",
        "RSA-OAEP",
        "ECDH-ES",
    ),
    *(["HS256"], ["EdDSA"], {"$ne": ""}, "HMAC-SHA256", "../HS256"),
]
TYPES = [
    *("JWT", "jwt", "AT+JWT", "at+JWT", "application/at+jwt", "id+jwt", "logout+jwt", "JOSE"),
    *("dpop+jwt", "secevent+jwt", "", " at+jwt", "at+jwt\0", None, 1, ["at+jwt"], ABSENT),
]
KEY_IDS = [
    *("", "another", "0", "../../../../dev/null", "/dev/null", "/proc/self/environ", "C:\\nul"),
    *("file:///dev/null", "https://evil.test/key.pem", "' OR '1'='1", "x' UNION SELECT 'k'--"),
    *("| cat /etc/passwd", "$(id)", "\0", "a" * 3000, None, 0, True, [], {"$ne": None}, ABSENT),
]


def headers(forger: Forger) -> Named:
    for value in UNSIGNED:
        changed = with_(forger.header, "alg", value)
        yield f"alg {shown(value)}, no signature", compact(changed, forger.claims, lambda _: b"")
        yield f"alg {shown(value)}, signed", forger.signed(changed)
    for name, values in {"alg": ALGORITHMS, "typ": TYPES, "kid": KEY_IDS}.items():
        for value in values:
            if value != forger.header[name]:
                yield f"{name}: {shown(value)}", forger.signed(with_(forger.header, name, value))
    for key in list(forger.ring.keys)[1:]:
        yield f"kid of our {key.algorithm}", forger.signed(forger.header | {"kid": key.id})
        changed = forger.header | {"kid": key.id, "alg": key.algorithm}
        yield f"kid and alg of our {key.algorithm}", forger.signed(changed)
    kid = forger.header["kid"]
    for name, value in {"upper": kid.swapcase(), "space": f"{kid} ", "nul": f"{kid}\0"}.items():
        yield f"kid in {name}", forger.signed(forger.header | {"kid": value})


def members(forger: Forger) -> Named:
    """Header members that lead a careless reader to a key, or away from the signature."""
    foreign = foreign_jwk()
    url = "https://evil.test/jwks.json"
    extras: dict[str, Any] = {
        "jwk": foreign,
        "jku": url,
        "x5u": url,
        "x5c": [b64(b"cert")],
        "x5t": b64(b"x" * 20),
        "x5t#S256": b64(b"x" * 32),
        "crit": ["exp"],
        "cty": "JWT",
        "b64": True,
        "zip": "DEF",
        "enc": "A256GCM",
        "epk": foreign,
        "p2c": 10**9,
        "nonce": "n",
        "url": url,
        "exp": 9999999999,
        "role": "ADMIN",
        "iss": "rowlock",
    }
    for name, value in extras.items():
        changed = forger.header | {name: value}
        yield f"with {name}", forger.signed(changed)
        yield (
            f"with {name}, foreign key",
            compact(changed | {"alg": "EdDSA"}, forger.claims, FOREIGN_ED_KEY.sign),
        )
    for crit in ([], ["b64"], "b64", None, ["nowhere"]):
        yield f"crit {crit}", forger.signed(forger.header | {"crit": crit, "b64": False})
    detached = b64(json_of(forger.header | {"crit": ["b64"], "b64": False}))
    plain = f"{detached}.{json_of(forger.claims).decode()}"
    yield "payload not encoded", f"{plain}.{b64(forger.ring.sign(plain.encode()))}"
    yield "payload detached", f"{detached}..{b64(forger.ring.sign(plain.encode()))}"


def raw(forger: Forger) -> Named:
    header = json_of(forger.header)
    for alg in (b"none", b"HS256"):
        first = b'{"alg":"%s",' % alg + header[1:]
        last = header[:-1] + b',"alg":"%s"}' % alg
        yield f"alg twice, {alg.decode()} first", forger.signed(first)
        yield f"alg twice, {alg.decode()} last", forger.signed(last)
    yield "kid twice", forger.signed(b'{"kid":"x",' + header[1:])
    for name, changed in misread(header).items():
        yield f"header {name}", forger.signed(changed)


def foreign_jwk() -> dict[str, str]:
    raw = FOREIGN_ED_KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {"kty": "OKP", "crv": "Ed25519", "x": b64(raw)}
