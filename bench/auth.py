"""What verifying an access token costs that is known already, and one that is seen first.

The reference is the first verification: signature, form and claims. A known token is looked up;
each comes as a string of its own, as each request brings one. Prints medians of several rounds.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter_ns

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import SecretStr

from bench import ground
from server.auth.tokens import AccessTokens
from server.repo.users import User
from server.settings import Settings

TARGET = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=5_000, help="a round")
    options = parser.parse_args()
    print(f"machine: {ground.machine()}; one thread")
    with tempfile.TemporaryDirectory(prefix="rowlock-bench-") as folder:
        for name, settings in kinds(Path(folder)).items():
            report(name, [one_round(settings, options.tokens) for _ in range(options.rounds)])


def kinds(folder: Path) -> dict[str, Settings]:
    """Return settings for each way to sign."""
    file = folder / "private.pem"
    key = Ed25519PrivateKey.generate()
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    secret = SecretStr(ground.JWT_SECRET)
    return {
        "HS256": Settings(jwt_secret=secret),
        "EdDSA": Settings(jwt_secret=secret, jwt_private_key_file=file),
    }


def one_round(settings: Settings, count: int) -> tuple[float, float]:
    """Return microseconds for a first verification and for one of a known token."""
    access = AccessTokens(settings)
    people = (User(f"usr_{n}", f"u{n}@example.com", f"U{n}", "USER") for n in range(count))
    tokens = [access.mint(person, "0" * 64)[0] for person in people]
    first = spent(access, tokens)
    return first, spent(access, again(tokens))


def again(tokens: Sequence[str]) -> list[str]:
    return [token.encode().decode() for token in tokens]


def spent(access: AccessTokens, tokens: Sequence[str]) -> float:
    """Verify all `tokens`; returns microseconds a token."""
    verify = access.verify
    started = perf_counter_ns()
    for token in tokens:
        verify(token)
    return (perf_counter_ns() - started) / len(tokens) / 1000


def report(name: str, figures: list[tuple[float, float]]) -> None:
    ratios = [known / first for first, known in figures]
    print(f"{name}  first {median(first for first, _ in figures):7.2f} µs a token")
    print(f"{name}  known {median(known for _, known in figures):7.2f} µs a token")
    print(
        f"{name}  ratio of known to first  {median(ratios):.4f}  "
        f"(rounds {min(ratios):.4f} to {max(ratios):.4f}; target below {TARGET})"
    )


if __name__ == "__main__":
    main()
