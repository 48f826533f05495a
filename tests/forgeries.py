"""Forged access tokens, by name: all that stands in RFC 8725 and in the books of its breakers.

Where the trick lies in what a token says, it is signed with the very key that signs sound ones, so
that nothing but the trick can be what it is refused for.
"""

from tests import forged_claims, forged_headers, forged_signatures
from tests.forger import Forger

KINDS = (
    forged_headers.headers,
    forged_headers.members,
    forged_headers.raw,
    forged_claims.said,
    forged_claims.times,
    forged_claims.raw,
    forged_claims.others,
    forged_signatures.keys,
    forged_signatures.signatures,
    forged_signatures.shapes,
)


def corpus(forger: Forger) -> dict[str, str]:
    """Return all of them, each once, in the order of KINDS."""
    named = [each for kind in KINDS for each in kind(forger)]
    assert len(dict(named)) == len(named), "two forgeries have one name"
    once = {token: name for name, token in reversed(named) if token != forger.sound}
    return {name: token for token, name in reversed(once.items())}
