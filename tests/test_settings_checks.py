"""Which settings stop the start, by which name, and without telling what they hold."""

from pathlib import Path

import pytest

from server.settings import Settings, SettingsError, load
from server.settings_checks import doubts

GOOD = "q4Zf9sVbT1mXhK8rCe2wYd7uPj5nLg0a"
ELSEWHERE = {
    "PUBLIC_URL": "https://rowlock.test",
    "MONGO_URI": "mongodb://u:hush@mongo.internal/rowlock",
    "REDIS_URL": "redis://:hush@redis.internal:6379/0",
    "JWT_SECRET": GOOD,
    "GOOGLE_CLIENT_ID": "id",
    "GOOGLE_CLIENT_SECRET": "8b1f0c52d7",
}
STRIPE = {
    "PAYMENT_PROVIDER": "stripe",
    "STRIPE_SECRET_KEY": "sk_live_q4Zf9sVbT1mXhK8r",
    "STRIPE_WEBHOOK_SECRET": "whsec_q4Zf9sVbT1mXhK8r",
}
REFUSED = [
    ("JWT_SECRET", ""),
    ("JWT_SECRET", "a" * 40),
    ("JWT_SECRET", "change-me" * 8),
    ("JWT_SECRET", GOOD[:31]),
    ("JWT_PREVIOUS_SECRETS", f"{GOOD[::-1]},{'abc' * 20}"),
    ("JWT_PREVIOUS_SECRETS", "old"),
    ("GOOGLE_CLIENT_SECRET", "change-me"),
    ("GOOGLE_CLIENT_SECRET", "secret"),
    ("STRIPE_SECRET_KEY", "sk_live_change_me"),
    ("STRIPE_WEBHOOK_SECRET", "whsec_your-secret"),
    ("SMTP_URL", "smtps://rowlock:change-me@mail.test"),
    ("SMTP_URL", "smtps://rowlock:%3Cpassword%3E@mail.test"),
    ("MONGO_URI", "mongodb://rowlock:changeme@mongo.internal/rowlock"),
    ("REDIS_URL", "redis://:your-password@redis.internal"),
]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Where ELSEWHERE is set, and there is no .env."""
    monkeypatch.chdir(tmp_path)
    for name, value in ELSEWHERE.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def started(environment: pytest.MonkeyPatch, app_env: str, changed: dict[str, str]) -> Settings:
    for name, value in {**changed, "APP_ENV": app_env}.items():
        environment.setenv(name, value)
    return load()


@pytest.mark.parametrize("app_env", ["staging", "production"])
@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_a_weak_secret_stops_the_start(
    environment: pytest.MonkeyPatch, app_env: str, name: str, value: str
) -> None:
    beside = STRIPE | {"MAIL_FROM": "a@rowlock.test"}
    with pytest.raises(SettingsError, match=rf"\A{name}: [^\n]+\Z") as caught:
        started(environment, app_env, beside | {name: value})
    assert not value or value not in str(caught.value)
    assert GOOD not in str(caught.value)


@pytest.mark.parametrize("app_env", ["staging", "production"])
@pytest.mark.parametrize("changed", [{}, STRIPE, {"JWT_PREVIOUS_SECRETS": GOOD[::-1]}])
def test_good_ones_do_not(
    environment: pytest.MonkeyPatch, app_env: str, changed: dict[str, str]
) -> None:
    settings = started(environment, app_env, changed)
    assert doubts(settings) == []
    for secret in (GOOD, "hush", "8b1f0c52d7", "q4Zf9sVbT1mXhK8r"):
        assert secret not in f"{settings!r} {settings}"


def test_development_takes_any(environment: pytest.MonkeyPatch) -> None:
    assert started(environment, "development", {"JWT_SECRET": "x"}).is_development


@pytest.mark.parametrize("kind", ["sk", "rk"])
def test_nobody_pays_with_test_cards_in_production(
    environment: pytest.MonkeyPatch, kind: str
) -> None:
    key = {**STRIPE, "STRIPE_SECRET_KEY": f"{kind}_test_q4Zf9sVbT1mXhK8r"}
    assert started(environment, "staging", key)
    with pytest.raises(SettingsError, match=r"^STRIPE_SECRET_KEY: is a test key"):
        started(environment, "production", key)


@pytest.mark.parametrize(
    ("url", "app_env", "taken"),
    [
        ("http://rowlock.test", "staging", True),
        ("http://rowlock.test", "production", False),
        ("HTTP://rowlock.test", "production", False),
        ("http://localhost.rowlock.test", "production", False),
        ("http://localhost@rowlock.test", "production", False),
        ("ftp://rowlock.test", "staging", False),
        ("rowlock.test", "production", False),
        ("http://localhost:8000", "production", True),
        ("http://127.0.0.1:8000", "production", True),
        ("http://[::1]:8000", "production", True),
        ("https://rowlock.test", "production", True),
    ],
)
def test_in_production_people_come_by_https(
    environment: pytest.MonkeyPatch, url: str, app_env: str, taken: bool
) -> None:
    if taken:
        assert started(environment, app_env, {"PUBLIC_URL": url}).public_url == url
        return
    with pytest.raises(SettingsError, match=r"\APUBLIC_URL: needs http[^\n]+\Z"):
        started(environment, app_env, {"PUBLIC_URL": url})


def test_stores_without_a_password_are_named_and_taken(environment: pytest.MonkeyPatch) -> None:
    bare = {
        "MONGO_URI": "mongodb://mongo.internal,second.internal/rowlock?replicaSet=rs0",
        "REDIS_URL": "redis://redis.internal",
    }
    said = doubts(started(environment, "production", bare))
    assert [line.partition(":")[0] for line in said] == ["MONGO_URI", "REDIS_URL"]
    here = {"MONGO_URI": "mongodb://127.0.0.1:1", "REDIS_URL": "redis://localhost"}
    assert doubts(started(environment, "production", here)) == []
    assert doubts(started(environment, "development", bare)) == []


@pytest.mark.parametrize("app_env", ["development", "production"])
@pytest.mark.parametrize(
    "origins",
    [
        *("*", "https://*.shop.example", "shop.example", "null", "ftp://shop.example"),
        *("https://shop.example/", "https://shop.example/page", "https://shop.example?x"),
        *("https://u:hush@shop.example", "https://Shop.example", "https://shop.example:"),
        *(
            "https://shop.example:0",
            "https://shop.example:65536",
            "https://",
            "https://a b.example",
        ),
        "https://shop.example,*",
    ],
)
def test_an_origin_that_is_none_stops_the_start(
    environment: pytest.MonkeyPatch, app_env: str, origins: str
) -> None:
    with pytest.raises(
        SettingsError, match=r"\ACORS_ORIGINS: needs scheme://host[^\n]+\Z"
    ) as caught:
        started(environment, app_env, {"CORS_ORIGINS": origins})
    assert "hush" not in str(caught.value)


def test_origins_in_the_clear_are_for_those_who_are_in_the_clear(
    environment: pytest.MonkeyPatch,
) -> None:
    mixed = {"CORS_ORIGINS": "https://shop.example, http://[::1]:3000"}
    with pytest.raises(SettingsError, match=r"\ACORS_ORIGINS: needs https://[^\n]+\Z"):
        started(environment, "staging", mixed)
    clear = mixed | {"PUBLIC_URL": "http://localhost:8000"}
    origins = started(environment, "staging", clear).cors_origins
    assert origins == ("https://shop.example", "http://[::1]:3000")
