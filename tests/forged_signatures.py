"""Forged access tokens that a key of ours has never signed, or that have lost their shape."""

import json

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.auth_flow import JWT_SECRET
from tests.forger import Forger, Named, unb64
from tests.signing import (
    FOREIGN_ED_KEY,
    FOREIGN_RSA_KEY,
    PREVIOUS_SECRET,
    Rung,
    b64,
    compact,
    hmac_with,
    json_of,
    public_pem,
    signer_of,
)


def keys(forger: Forger) -> Named:
    """Signed with what everybody knows, as if it were the secret; and with other keys."""
    known = known_bytes(forger.ring)
    for name, key in known.items():
        yield f"{name} as secret", compact(forger.header, forger.claims, hmac_with(key))
        if forger.ring.kind != "HS256":
            changed = forger.header | {"alg": "HS256"}
            yield f"{name} as secret, alg told", compact(changed, forger.claims, hmac_with(key))
    foreign = {"EdDSA": FOREIGN_ED_KEY.sign, "RS256": signer_of(FOREIGN_RSA_KEY)}
    foreign["HS256"] = hmac_with("another-secret-that-is-long-enough-as-well")
    for alg, sign in foreign.items():
        yield f"foreign {alg} key", compact(forger.header, forger.claims, sign)
        yield (
            f"foreign {alg} key, alg told",
            compact(forger.header | {"alg": alg}, forger.claims, sign),
        )
    for bits in ("384", "512"):
        sign = hmac_with(JWT_SECRET, f"sha{bits}")
        yield (
            f"HS{bits} by the secret",
            compact(forger.header | {"alg": f"HS{bits}"}, forger.claims, sign),
        )
        yield f"HS{bits} by the secret, untold", compact(forger.header, forger.claims, sign)
    if forger.ring.kind != "HS256":
        yield "JWT_SECRET", compact(forger.header, forger.claims, hmac_with(JWT_SECRET))
    yield "our previous secret", compact(forger.header, forger.claims, hmac_with(PREVIOUS_SECRET))


def signatures(forger: Forger) -> Named:
    head, body, signature = forger.parts
    good = unb64(signature)
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    odd = {
        "empty": b"",
        "zeros": bytes(len(good)),
        "ones": b"\xff" * len(good),
        "half": good[:16],
        "one short": good[:-1],
        "one long": good + b"\0",
        "doubled": good * 2,
        "reversed": good[::-1],
        "one bit off": bytes([good[0] ^ 1]) + good[1:],
        "of 64 zeros": bytes(64),
        "of 256 zeros": bytes(256),
        "json": b'{"valid":true}',
        "payload": unb64(body),
        "of the payload alone": forger.ring.sign(body.encode()),
        "of the decoded": forger.ring.sign(unb64(head) + b"." + unb64(body)),
    }
    for name, value in odd.items():
        yield f"signature {name}", f"{head}.{body}.{b64(value)}"
    if len(good) % 3:  # the last character has bits to spare
        spare = last[last.index(signature[-1]) ^ 1]
        yield "signature spelled otherwise", f"{head}.{body}.{signature[:-1]}{spare}"
    eve = forger.signed(None, forger.claims | {"sub": "usr_eve", "role": "USER"}).split(".")
    yield "another's signature", f"{head}.{body}.{eve[2]}"
    yield "another's payload", f"{head}.{eve[1]}.{signature}"


def shapes(forger: Forger) -> Named:
    head, body, signature = forger.parts
    sound = forger.sound
    odd = {
        "empty": "",
        "dot": ".",
        "two dots": "..",
        "four dots": "....",
        "header alone": head,
        "no signature": f"{head}.{body}",
        "no header": f".{body}.{signature}",
        "no payload": f"{head}..{signature}",
        "trailing dot": f"{sound}.",
        "led by dot": f".{sound}",
        "fourth segment": f"{sound}.{signature}",
        "twice": f"{sound}.{sound}",
        "JWE": f"{sound}.AA.AA",
        "swapped": f"{body}.{head}.{signature}",
        "padded": f"{head}.{body}.{signature}=",
        "padded twice": f"{head}.{body}.{signature}==",
        "padded payload": f"{head}.{body}=.{signature}",
        "space before": f" {sound}",
        "space after": f"{sound} ",
        "tab after": f"{sound}\t",
        "line after": f"{sound}\n",
        "nul after": f"{sound}\0",
        "comma": f"{sound},{sound}",
        "line inside": f"{head}.{body}.{signature[:9]}\n{signature[9:]}",
        "scheme": f"Bearer {sound}",
        "sign inside": f"{head}.{body}.{signature[:9]}!{signature[9:]}",
        "quoted": f'"{sound}"',
        "space inside": f"{head}. {body}.{signature}",
        "percent": sound.replace(".", "%2e"),
        "wide dots": sound.replace(".", "\uff0e"),
        "marked": f"\ufeff{sound}",
        "cut": sound[:-1],
        "unseen": f"{sound}\u200b",
        "snow": "\u2603",
        "lone surrogate": "\udcff",
        "lower": sound.lower(),
        "huge": "x" * 1_000_000,
        "huge payload": forger.signed(None, forger.claims | {"x": "y" * 5000}),
        "dots": "." * 10_000,
        "flattened": json.dumps({"protected": head, "payload": body, "signature": signature}),
        "general": json.dumps(
            {"payload": body, "signatures": [{"protected": head, "signature": signature}]}
        ),
        "nested": forger.signed(None, sound.encode()),
        "nested as text": forger.signed(None, {"jwt": sound}),
        "five segments of ours": ".".join([head, body, signature, head, body]),
        "bytes of it": repr(sound.encode()),
    }
    yield from ((f"shape {name}", token) for name, token in odd.items())
    for tenth in range(1, 10):
        yield f"shape {tenth}0 %", sound[: len(sound) * tenth // 10]


def known_bytes(ring: Rung) -> dict[str, bytes]:
    """What anybody can know of a ring, in every spelling that a key might be read in."""
    pem, public = public_pem(ring.public), ring.public.public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    jwk = next(key.jwk for key in ring.keys if key.jwk)
    base = b"".join(pem.splitlines()[1:-1])
    spellings = {
        "PEM": pem,
        "PEM without its end": pem.strip(),
        "PEM in DOS lines": pem.replace(b"\n", b"\r\n"),
        "PEM in one line": pem.replace(b"\n", b""),
        "PEM twice ended": pem + b"\n",
        "DER": der,
        "DER in base64": base,
        "base64 in lines": b"\n".join(pem.splitlines()[1:-1]),
        "JWK": json_of(jwk),
        "JWK Set": json_of({"keys": [jwk]}),
        "spaced JWK": json.dumps(jwk).encode(),
        "number": str(jwk.get("x") or jwk["n"]).encode(),
        "raw number": unb64(jwk.get("x") or jwk["n"]),
        "key id": ring.keys.current.id.encode(),
        "nothing": b"",
        "nul": b"\0",
        "audience": b"rowlock-api",
        "placeholder": b"secret",
        "None": b"None",
        "issuer": b"rowlock",
    }
    if ring.kind == "RS256":
        spellings["PKCS1"] = public.public_bytes(Encoding.PEM, PublicFormat.PKCS1)
    return spellings
