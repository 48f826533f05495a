"""Which pages may open a WebSocket: every route of the table, every trick with an origin."""

import json
from contextlib import suppress

import pytest
from starlette.routing import WebSocketRoute
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from server.api import audit_live
from tests.running import IN_MODULE_LOOP, served

pytestmark = IN_MODULE_LOOP

LISTED = "https://shop.example"

server = served(cors_origins=LISTED)

REFUSED = {
    "another site": "https://evil.test",
    "a sandbox": "null",
    "nothing": "",
    "another port": "http://127.0.0.1:1",
    "no port": "http://127.0.0.1",
    "the scheme of sockets": "ws://127.0.0.1:{port}",
    "a name that begins like ours": "{ours}.evil.test",
    "a name that ends like ours": "http://evil.127.0.0.1:{port}",
    "our name as user": "{ours}@evil.test",
    "a user at our name": "http://evil@127.0.0.1:{port}",
    "a backslash": "{ours}\\@evil.test",
    "a trailing dot": "http://localhost.:{port}",
    "a trailing slash": "{ours}/",
    "capitals": "HTTP://LOCALHOST:{port}",
    "a list": "{ours}, https://evil.test",
    "a file": "file://",
    "a listed name by http": "http://shop.example",
    "below a listed name": "https://www.shop.example",
    "a listed name, another port": "https://shop.example:8443",
    "the same address as a number": "http://2130706433:{port}",
}
WELCOME = {"ours": "{ours}", "by the configured name": "http://localhost:{port}", "listed": LISTED}

SOCKETS = {"/api/showtimes/{showtime_id}/live", "/api/admin/audit/live"}


def filled_in(server, text):
    return text.format(ours=server.url, port=server.settings.port)


async def addresses(server):
    """The path of every WebSocket in the table, with a showtime that there is."""
    showtime = await server.showtime()
    routes = [route for route in server.app.routes if isinstance(route, WebSocketRoute)]
    return [route.path.replace("{showtime_id}", showtime) for route in routes]


async def test_these_are_all_there_are(server):
    routes = {route.path for route in server.app.routes if isinstance(route, WebSocketRoute)}
    assert routes == SOCKETS
    assert len(REFUSED) >= 12


@pytest.mark.parametrize("page", REFUSED)
async def test_a_foreign_page_is_sent_away_before_a_word(server, page, monkeypatch):
    """Also with a ticket that would open the socket to others; and it does not spend that one."""
    monkeypatch.setattr(audit_live, "HEARTBEAT_SECONDS", 0.05)
    before = await server.stored.database["tickets"].count_documents({})
    ticket = (await server.ada.post("/api/auth/ticket")).json()["ticket"]
    headers = {"Origin": filled_in(server, REFUSED[page])}
    for path in await addresses(server):
        address = f"{server.url.replace('http', 'ws', 1)}{path}"
        async with connect(address, additional_headers=headers) as socket:
            with suppress(ConnectionClosed):  # it may be gone already
                await socket.send(json.dumps({"type": "auth", "ticket": ticket}))
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert socket.close_code == 1008, path
    assert await server.stored.database["tickets"].count_documents({}) == before + 1


@pytest.mark.parametrize("page", [None, *WELCOME])
async def test_our_pages_and_no_pages_are_let_in(server, page, monkeypatch):
    monkeypatch.setattr(audit_live, "HEARTBEAT_SECONDS", 0.05)
    origin = page and filled_in(server, WELCOME[page])
    for path in await addresses(server):
        address = f"{server.url.replace('http', 'ws', 1)}{path}"
        ticket = (await server.ada.post("/api/auth/ticket")).json()["ticket"]
        async with connect(address, origin=origin) as socket:
            await socket.send(json.dumps({"type": "auth", "ticket": ticket}))
            assert json.loads(await socket.recv())["type"] in ("snapshot", "heartbeat", "audit")


@pytest.mark.parametrize("host", ["evil.test", "localhost.evil.test", "localhost."])
async def test_a_page_whose_name_was_bound_to_our_address_is_no_page_of_ours(server, host):
    port = server.settings.port
    for path in await addresses(server):
        named = f"{host}:{port}"
        joined = connect(
            f"ws://{named}{path}", origin=f"http://{named}", host="127.0.0.1", port=port
        )
        with pytest.raises(InvalidStatus) as refused:
            async with joined:
                pass
        assert refused.value.response.status_code == 421
