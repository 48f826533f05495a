"""/asyncapi.json: a good AsyncAPI document of every WebSocket, and what it says is what is sent."""

import asyncio
import copy
import json
from pathlib import Path

import jsonschema_rs
import pytest
from starlette.routing import WebSocketRoute
from websockets.asyncio.client import connect

from server.api.asyncapi import document
from server.api.descriptions.live import CHANNELS
from server.events import STATE_AFTER
from server.realtime import frames
from tests.json_references import references
from tests.npm_packages import installed
from tests.running import IN_MODULE_LOOP, book, eventually, lock, pay, served

pytestmark = IN_MODULE_LOOP

server = served(seat_lock_ttl=2)

SOURCE = Path(__file__).parent / "asyncapi_schema"


@pytest.fixture(scope="module")
def told():
    return json.loads(json.dumps(document(CHANNELS, "https://rowlock.test")))


@pytest.fixture(scope="module")
def specification(pytestconfig):
    """The JSON schema that the makers of AsyncAPI publish."""
    folder = installed(pytestconfig.cache, SOURCE)
    schema = folder / "node_modules" / "@asyncapi" / "specs" / "schemas" / "3.0.0.json"
    return jsonschema_rs.validator_for(json.loads(schema.read_text()))


def payloads(told, *messages):
    """A check for frames that are to be one of these messages."""
    some = [told["components"]["messages"][name]["payload"] for name in messages]
    return jsonschema_rs.validator_for({"anyOf": some, "components": told["components"]})


SEAT_MAP = ("snapshot", "seatEvents", "heartbeat")


async def test_the_document_is_as_the_specification_says(told, specification):
    specification.validate(told)
    wrong = copy.deepcopy(told)
    wrong["operations"]["sendSeatMap"]["action"] = "shout"
    assert not specification.is_valid(wrong), "a check that cannot fail"


async def test_every_reference_leads_somewhere(told):
    refs = set(references(told))
    assert len(refs) > 10
    for ref in refs:
        found = told
        for part in ref.removeprefix("#/").split("/"):
            found = found[part]


async def test_every_socket_is_described(server):
    sockets = {route.path for route in server.app.routes if isinstance(route, WebSocketRoute)}
    assert {channel.address for channel in CHANNELS} == sockets


async def test_the_examples_are_good_ones(told):
    for name, message in told["components"]["messages"].items():
        for example in message["examples"]:
            payloads(told, name).validate(example["payload"])


async def test_every_event_is_described(told):
    """Those that the seat store announces, as the server writes them, and no others."""
    check = payloads(told, "seatEvents")
    for kind in STATE_AFTER:
        more = {"seat.locked": {"expires_at": 1}, "seat.released": {"reason": "unblocked"}}
        event = {"type": kind, "seats": ["A1"], **more.get(kind, {})}
        check.validate(json.loads(frames.events("e", 1, 2, 3, [event])))
        assert not check.is_valid(json.loads(frames.events("e", 1, 2, 3, [event | {"owner": "x"}])))
    event = {"type": "seat.sat_on", "seats": ["A1"]}
    assert not check.is_valid(json.loads(frames.events("e", 1, 2, 3, [event])))
    payloads(told, "heartbeat").validate(json.loads(frames.heartbeat(1, 2)))


async def test_what_a_watcher_gets_is_what_it_says(server, told):
    showtime = await server.showtime()
    address = f"ws{server.url.removeprefix('http')}/api/showtimes/{showtime}/live"
    check, seen = payloads(told, *SEAT_MAP), set()
    async with connect(address, proxy=None) as socket, asyncio.timeout(20):
        first = json.loads(await socket.recv())
        check.validate(first)
        assert first["type"] == "snapshot"
        await lock(server.eve, showtime, "A5")
        booking = (await book(server.bob, showtime, "A1", "A2")).json()["booking"]["id"]
        await pay(server.bob, booking)
        while not {"seat.locked", "seat.booked", "seat.released"} <= seen:
            frame = json.loads(await socket.recv())
            check.validate(frame)
            seen |= {event["type"] for event in frame.get("events", [])}


async def test_what_an_administrator_gets_is_what_it_says(server, told):
    ticket = (await server.ada.post("/api/auth/ticket")).json()["ticket"]
    first = {"type": "auth", "ticket": ticket}
    payloads(told, "auth").validate(first)

    async def entries():
        return (await server.ada.get("/api/admin/audit")).json()["items"]

    known = (await eventually(entries))[0]["id"]
    address = f"ws{server.url.removeprefix('http')}/api/admin/audit/live?after={known}"
    check = payloads(told, "auditEntry", "auditHeartbeat")
    async with connect(address, proxy=None) as socket, asyncio.timeout(20):
        await socket.send(json.dumps(first))
        await lock(server.bob, await server.showtime(), "A1")
        frame = json.loads(await socket.recv())
        check.validate(frame)
        assert not check.is_valid(frame | {"more": 1}), "a check that cannot fail"


async def test_it_is_served_to_everybody(server, told):
    answer = await server.visitor.get("/asyncapi.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    here = {"host": f"localhost:{server.settings.port}", "protocol": "ws"}
    assert answer.json() == told | {"servers": {"here": here}}
    assert told["servers"]["here"] == {"host": "rowlock.test", "protocol": "wss"}
    known = {"If-None-Match": answer.headers["etag"]}
    assert (await server.visitor.get("/asyncapi.json", headers=known)).status_code == 304
