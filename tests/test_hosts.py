"""Under which names the server answers."""

import asyncio

import pytest

from server.api.hosts import BY_ANY_NAME, Hosts
from tests.auth_flow import settings_for
from tests.running import IN_MODULE_LOOP, problem, served, states

pytestmark = IN_MODULE_LOOP

server = served()

PUBLIC = {"app_env": "production", "public_url": "https://Rowlock.test"}
TRICKS = [
    "",
    " ",
    "evil.test",
    "rowlock.test.evil.test",
    "evil.rowlock.test",
    "rowlock.test.",
    "rowlock.test:443:443",
    "rowlock.test:x",
    "rowlock.test:",
    "rowlock.test@evil.test",
    "evil.test@rowlock.test",
    "evil.test#rowlock.test",
    "evil.test/rowlock.test",
    "rowlock.test,evil.test",
    "rowlock.test evil.test",
    "rowlock.test\\evil.test",
    "https://rowlock.test",
    "[rowlock.test]",
    "rowl\u00f6ck.test",
    "*",
    "null",
]


@pytest.mark.parametrize(
    "host", ["rowlock.test", "ROWLOCK.test", "rowlock.test:443", "rowlock.test:8"]
)
async def test_the_public_name_is_ours_by_any_port(host):
    assert Hosts(settings_for(**PUBLIC)).allows(host)


@pytest.mark.parametrize("host", [*TRICKS, "localhost", "127.0.0.1", "127.0.0.1:8000", "[::1]"])
async def test_no_other_name_is(host):
    assert not Hosts(settings_for(**PUBLIC)).allows(host)


async def test_further_names_are_those_of_allowed_hosts_or_else_of_cors_origins():
    pages = PUBLIC | {"cors_origins": "https://shop.example:8443"}
    assert Hosts(settings_for(**pages)).allows("shop.example")
    listed = Hosts(settings_for(**pages, allowed_hosts="a.test, B.test:81,[2001:db8::1]"))
    assert all(
        listed.allows(name) for name in ("a.test", "b.test:9", "[2001:db8::1]", "rowlock.test")
    )
    assert not listed.allows("shop.example")


LOOPBACK = ["localhost", "LocalHost:8000", "127.0.0.1:9", "127.8.9.1", "[::1]:8000", "192.0.2.7"]


@pytest.mark.parametrize("host", LOOPBACK)
async def test_in_development_loopback_names_and_addresses_are_ours(host):
    assert Hosts(settings_for()).allows(host)


@pytest.mark.parametrize(
    "host", [*TRICKS, "rowlock.test", "localhost.evil.test", "127.0.0.1.nip.io"]
)
async def test_in_development_names_are_not(host):
    assert not Hosts(settings_for()).allows(host)


async def test_another_name_is_refused_whatever_is_asked(server):
    headers = {"Host": "evil.test", "Authorization": server.bob.headers["Authorization"]}
    showtime = await server.showtime()
    for method, path in [
        ("GET", "/"),
        ("GET", "/static/main.js"),
        ("GET", "/api/movies"),
        ("GET", "/api/nowhere"),
        ("POST", f"/api/showtimes/{showtime}/seats/lock"),
        ("OPTIONS", "/api/bookings"),
        ("GET", "/api/auth/google/login"),
    ]:
        body = {"json": {"seats": ["A1"]}} if method == "POST" else {}
        answer = await server.visitor.request(method, path, headers=headers, **body)
        problem(answer, 421, "host_not_allowed")
        assert "evil" not in answer.text
        assert "set-cookie" not in answer.headers
    assert await states(server.visitor, showtime) == {}


async def test_a_page_whose_name_was_bound_to_our_address_is_no_page_of_ours(server):
    named = f"evil.test:{server.settings.port}"
    page = {"Host": named, "Origin": f"http://{named}", "Sec-Fetch-Site": "same-origin"}
    problem(await server.bob.post("/api/auth/refresh", headers=page), 421, "host_not_allowed")


@pytest.mark.parametrize("path", sorted(BY_ANY_NAME))
async def test_watchers_ask_by_address(server, path):
    answer = await server.visitor.get(path, headers={"Host": "10.1.2.3:8000"})
    assert answer.status_code == 200
    assert (await server.visitor.get(path, headers={"Host": "evil.test"})).status_code == 200


@pytest.mark.parametrize("hosts", [(), ("localhost", "evil.test"), ("evil.test", "localhost")])
async def test_two_names_are_none(server, hosts):
    reader, writer = await asyncio.open_connection(*server.address)
    lines = ["GET /api/movies HTTP/1.0", *(f"Host: {host}" for host in hosts), "", ""]
    writer.write("\r\n".join(lines).encode())
    assert (await reader.readline()).split()[1] == b"421"
    writer.close()
    await writer.wait_closed()
