"""Which secrets are taken for secrets."""

import base64
import secrets
import uuid
from collections.abc import Callable

import pytest

from server.secret_strength import issued_weakness, placeholder_in, signing_weakness

MADE = {
    "openssl rand -base64 48": lambda: base64.b64encode(secrets.token_bytes(48)).decode(),
    "openssl rand -hex 32": lambda: secrets.token_hex(32),
    "32 hexadecimal digits": lambda: secrets.token_hex(16),
    "token_urlsafe": lambda: secrets.token_urlsafe(48),
    "a uuid": lambda: str(uuid.uuid4()),
}
GUESSED = [
    "short",
    "q4Zf9sVbT1mXhK8rCe2wYd7uPj5nLg0",
    "a" * 32,
    "a" * 63 + "b",
    "ab" * 20,
    "abc" * 11,
    "0123456789" * 4,
    "0123456789abcdef0123456789abcdef",
    "abcdefghijklmnopqrstuvwxyz0123456789",
    "9876543210zyxwvutsrqponmlkjihgfedcba",
    "qwertyuiopasdfghjklzxcvbnm1234567890",
    "11111111222222223333333344444444",
    "aaaaaaaabbbbbbbbccccccccdddddddd",
    "passwordpasswordpasswordpassword1",
    "P@ssw0rd!P@ssw0rd!P@ssw0rd!P@ssw0rd!",
    "super-secret-jwt-signing-key-for-rowlock",
    "this-is-my-very-long-jwt-signing-secret-123456",
    "rowlock-production-signing-secret-2026!",
    "MySuperSecretPasswordForTheServer1234",
    "the-secret-of-the-tests-and-of-nothing-else",
    "change-me" * 8,
    "CHANGE_ME-q4Zf9sVbT1mXhK8rCe2wYd7uPj5nLg0a",
    "your-256-bit-secret-your-256-bit-secret",
    "<a long random text that nobody knows of>",
    "${JWT_SECRET:-q4Zf9sVbT1mXhK8rCe2wYd7uPj5nLg0a}",
    "{{ jwt_secret_q4Zf9sVbT1mXhK8rCe2wYd7uP }}",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "replace-this-q4Zf9sVbT1mXhK8rCe2wYd7uPj5",
]


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_what_is_made_by_chance_is_good(made: Callable[[], str]) -> None:
    assert [signing_weakness(made()) for _ in range(200)].count("") >= 199


def test_many_words_that_nobody_expects_are_good_too() -> None:
    assert signing_weakness("correct horse battery staple olive trombone") == ""


@pytest.mark.parametrize("secret", GUESSED)
def test_what_can_be_guessed_is_not(secret: str) -> None:
    assert signing_weakness(secret)
    assert secret not in signing_weakness(secret)


@pytest.mark.parametrize("secret", ["", "secret", "aaaaaaaaaaaaaaaa", "password123", "change-me"])
def test_what_others_issue_is_at_least_no_word(secret: str) -> None:
    assert issued_weakness(secret)


@pytest.mark.parametrize("secret", ["GOCSPX-q4Zf9sVbT1mXhK8r", "8b1f0c52d7", "0123456789"])
def test_its_form_is_theirs_to_choose(secret: str) -> None:
    assert issued_weakness(secret) == ""


def test_a_password_in_an_address_is_theirs_as_well() -> None:
    assert placeholder_in("hush") == placeholder_in("") == ""
    assert placeholder_in("change-me")
