"""Which origins are ours."""

import pytest

from server.auth.origins import Origins
from tests.auth_flow import settings_for

LISTED = "https://shop.example, http://Other.Example:80"


def origins_of(**changes):
    return Origins(settings_for(**{"cors_origins": LISTED, **changes}))


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost:8000", ""),
        ("http://localhost:8000", "rowlock.lan"),
        ("https://shop.example", "localhost:8000"),
        ("http://other.example", "localhost:8000"),
        ("http://127.0.0.1:9000", "127.0.0.1:9000"),
        ("http://rowlock.lan:8000", "rowlock.lan:8000"),
        ("https://rowlock.lan", "Rowlock.lan"),
    ],
)
def test_ours(origin, host):
    assert origins_of().allows(origin, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("", ""),
        ("", "localhost:8000"),
        ("null", "null"),
        ("http://", ""),
        ("https://", ""),
        ("http://localhost:8001", "localhost:8000"),
        ("http://shop.example", "localhost:8000"),
        ("https://shop.example:8443", "localhost:8000"),
        ("https://shop.example/", "localhost:8000"),
        ("https://shop.example.evil.test", "localhost:8000"),
        ("https://evil.test#https://shop.example", "localhost:8000"),
        ("http://localhost:8000@evil.test", "localhost:8000"),
        ("ftp://localhost:8000", "localhost:8000"),
        ("http://localhost", "localhost:8000"),
    ],
)
def test_not_ours(origin, host):
    assert not origins_of().allows(origin, host)


def test_an_https_site_has_no_http_twin():
    production = {"app_env": "production", "public_url": "https://rowlock.test"}
    assert origins_of(**production).allows("https://rowlock.test", "rowlock.test")
    assert not origins_of(**production).allows("http://rowlock.test", "rowlock.test")


@pytest.mark.parametrize(
    ("public_url", "origin"),
    [
        ("https://Rowlock.test/", "https://rowlock.test"),
        ("https://rowlock.test:443", "https://rowlock.test"),
        ("http://rowlock.test:8080/app", "http://rowlock.test:8080"),
        ("http://rowlock.test:80", "http://rowlock.test"),
    ],
)
def test_the_public_address_is_read_as_browsers_write_it(public_url, origin):
    assert origins_of(public_url=public_url).public == origin


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1", "[::1]:8000", "LOCALHOST:8000"])
def test_a_loopback_name_counts_as_typed_in_development_only(host):
    assert origins_of().seen_as("http", host) == f"http://{host.lower()}"
    production = origins_of(app_env="production", public_url="https://rowlock.test")
    assert production.seen_as("http", host) == "https://rowlock.test"


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.test",
        "localhost.evil.test",
        "localhost:80@evil.test",
        "localhost:x",
        "127.0.0.1.x",
        "localhost/evil",
        "localhost:8000\r\n",
    ],
)
def test_no_other_host_is_believed(host):
    assert origins_of().seen_as("http", host) == "http://localhost:8000"
