"""The audit feed over real sockets: live, resumed, refused, and for administrators alone.

What it does in trouble is in `test_audit_live_trouble.py`.
"""

import asyncio
import random
from contextlib import suppress
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from server.api import audit_live
from server.audit_tail import PAGE, AuditTail
from server.auth.tickets import Tickets
from server.models import Identity
from server.repo.audit_logs import AuditLogRepo
from server.repo.users import Users
from tests.audit_feed import (
    GOOD_ORIGIN,
    PATH,
    Logs,
    auth_message,
    complaints,
    entries,
    farewell,
    feed_on,
    heartbeat,
    ids,
    nothing_left,
    receive,
    say_who,
    ticket_of,
)
from tests.auth_flow import auth_for
from tests.running import IN_MODULE_LOOP, Running, lock, served
from tests.stored import Stored, stocked

pytestmark = IN_MODULE_LOOP

server = served()
stored = stocked()


@pytest.fixture
def feed_of(stored: Stored) -> Any:
    return lambda: feed_on(stored)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_live, "HEARTBEAT_SECONDS", 0.1)


# -- the whole server ----------------------------------------------------------------------------


def live(server: Running, **options: Any) -> Any:
    return connect(f"ws://127.0.0.1:{server.settings.port}{PATH}", **options)


async def test_what_people_do_is_told_at_once_as_the_list_tells_it(server: Running) -> None:
    async with live(server) as socket:
        await say_who(socket, await ticket_of(server.ada))
        showtime = await server.showtime()
        await lock(server.bob, showtime, "A1", "A2")
        await server.bob.delete(f"/api/showtimes/{showtime}/seats/lock")
        told: list[dict[str, Any]] = []
        while len(told) < 2:
            [entry] = await entries(socket, 1)
            if entry["target"].get("showtime_id") == showtime:
                told.append(entry)
    assert [entry["action"] for entry in told] == ["seat.locked", "seat.released"]
    assert told[0]["actor"]["email"] == "bob@example.com"
    listed = await server.ada.get("/api/admin/audit", params={"showtime": showtime})
    assert listed.json()["items"] == told[::-1]


async def test_a_ticket_serves_once(server: Running) -> None:
    ticket = await ticket_of(server.ada)
    async with live(server) as first, live(server) as second:
        await say_who(first, ticket)
        await heartbeat_of_busy(first)
        await say_who(second, ticket)
        code, reason = await farewell(second)
        assert (code, reason) == (1008, "The ticket is spent, expired or unknown.")
        await heartbeat_of_busy(first)


async def heartbeat_of_busy(socket: ClientConnection) -> None:
    """Wait for a heartbeat of a server on which things happen."""
    while (await receive(socket))["type"] != "heartbeat":
        pass


async def test_a_user_is_refused(server: Running) -> None:
    async with live(server) as socket:
        await say_who(socket, await ticket_of(server.bob))
        assert await farewell(socket) == (1008, "this is for administrators")


async def test_a_page_of_ours_is_welcome_and_a_foreign_one_refused(server: Running) -> None:
    async with live(server, origin=f"http://127.0.0.1:{server.settings.port}") as socket:
        await say_who(socket, await ticket_of(server.ada))
        await heartbeat_of_busy(socket)
    ticket = await ticket_of(server.ada)
    for origin in ("http://evil.example", "null", "https://localhost.evil.example"):
        async with live(server, origin=origin) as socket:
            with suppress(ConnectionClosed):
                await say_who(socket, ticket)
            assert await farewell(socket) == (1008, "this origin is not allowed")
    async with live(server) as socket:  # and the ticket was not even looked at
        await say_who(socket, ticket)
        await heartbeat_of_busy(socket)


async def test_it_is_no_page(server: Running) -> None:
    assert (await server.ada.get(PATH)).status_code == 404


# -- live and resumed ----------------------------------------------------------------------------


async def test_without_after_it_begins_now(feed_of: Any) -> None:
    async with feed_of() as feed:
        await feed.append(3)
        async with feed.following() as socket:
            for count in (1, 2, 250):
                added = await feed.append(count)
                assert await ids(socket, count) == added


async def test_with_after_it_goes_on_from_there(feed_of: Any) -> None:
    async with feed_of() as feed:
        anchor, *missed = await feed.append(2 * PAGE + 11)
        for start in (0, 1, PAGE - 1, PAGE, PAGE + 1, len(missed) - 1):
            here = [anchor, *missed]
            async with feed.connection(here[start]) as socket:
                await say_who(socket, await feed.ticket())
                assert await ids(socket, len(missed) - start) == here[start + 1 :]
                missed += (added := await feed.append(1))
                assert await ids(socket, 1) == added


async def test_an_entry_is_told_in_full(feed_of: Any) -> None:
    told = {
        "actor": {"id": "usr_zoe", "email": "zoë@example.com"},
        "target": {"showtime_id": "sho_1"},
        "detail": {"text": 'a "}\u0000\u2028💺', "seats": ["A1"], "number": 2**40, "none": None},
        "request_id": "req_1",
    }
    async with feed_of() as feed, feed.following() as socket:
        [entry_id] = await feed.append(1, **told)
        [entry] = await entries(socket, 1)
    assert entry.keys() == {*told, "id", "at", "action", "outcome"}
    assert {name: entry[name] for name in told} == told
    assert (entry["id"], entry["action"], entry["outcome"]) == (entry_id, "test.entry", "ok")


@pytest.mark.parametrize("after", ["act_none", "x", "%7B%22$ne%22:1%7D", "a" * 2000, "%00", "%FF"])
async def test_an_entry_that_is_not_there_is_nothing_to_go_on_from(
    feed_of: Any, after: str
) -> None:
    async with feed_of() as feed, feed.connection(after) as socket:
        await say_who(socket, await feed.ticket())
        expected = (4404, "no entry has the id in after; start over")
        assert await farewell(socket) == expected
    async with feed_of() as feed, feed.connection(after) as socket:
        await say_who(socket, "no ticket")
        assert (await farewell(socket))[0] == 1008, "who is nobody learns nothing of ids"


async def test_who_comes_back_again_and_again_misses_nothing(feed_of: Any) -> None:
    """While entries are appended all the time, the reader is cut off at any point."""
    async with feed_of() as feed:
        [anchor] = await feed.append(1)
        wanted, read, lives = 5_000, [], 0

        async def write() -> None:
            for _ in range(wanted // 10):
                await feed.append(10)

        async def read_for_a_while(socket: ClientConnection) -> None:
            for _ in range(random.choice([0, 1, 7, 99, 100, 101, random.randrange(600)])):
                if len(read) == wanted:
                    return
                read.extend(await ids(socket, 1))

        writing = asyncio.create_task(write())
        while len(read) < wanted:
            lives += 1
            last = read[-1] if read else anchor
            async with feed.connection(last, close_timeout=0.05) as socket:  # it is full
                await say_who(socket, await feed.ticket())
                await read_for_a_while(socket)
                if random.random() < 0.5:
                    socket.transport.abort()
        await writing
        chain = await feed.chain()
        assert [anchor, *read] == chain[-wanted - 1 :]
        assert lives > 10


async def test_all_who_follow_hear_the_same_for_one_look(feed_of: Any) -> None:
    async with feed_of() as feed:
        async with feed.following() as first, feed.following() as second:
            added = await feed.append(5)
            assert await ids(first, 5) == await ids(second, 5) == added
            await first.close()
            added = await feed.append(5)
            assert await ids(second, 5) == added


async def test_the_log_is_looked_at_once_for_all_and_only_while_somebody_follows(
    stored: Stored,
) -> None:
    logs, looks = Logs(stored.database), 4
    tail = AuditTail(logs, look_seconds=0.05)
    for _ in range(2):
        logs.heads = 0
        async with asyncio.timeout(5):
            followers = [tail.followed() for _ in range(50)]
            for follower in followers:
                await follower.__aenter__()
            while logs.heads < looks:
                await asyncio.sleep(0.01)
            assert logs.heads == looks
            for follower in followers:
                await follower.__aexit__(None, None, None)
        await nothing_left()


async def test_a_quiet_feed_has_a_heartbeat(feed_of: Any) -> None:
    async with feed_of() as feed, feed.following() as socket:
        for _ in range(3):
            beat = await heartbeat(socket)
            assert beat.keys() == {"type", "server_time"}
            assert abs(beat["server_time"] - datetime.now(UTC).timestamp() * 1000) < 5_000


async def test_what_an_administrator_says_later_changes_nothing(feed_of: Any) -> None:
    async with feed_of() as feed, feed.following() as socket:
        ticket = await feed.ticket()
        for message in ("{}", "not json", b"\x00\xff", "x" * 8000, "") * 200:
            await socket.send(message)
        await say_who(socket, ticket)
        added = await feed.append(3)
        assert await ids(socket, 3) == added
        assert (await auth_for(feed.database).tickets.redeem(ticket)).role == "ADMIN"
        with suppress(ConnectionClosed):
            await socket.send("x" * 10_000)
        assert (await farewell(socket))[0] == 1009


# -- refused -------------------------------------------------------------------------------------

TICKET = "TICKET"
MALFORMED: list[str | bytes] = [
    "",
    " ",
    "{}",
    "[]",
    "null",
    "true",
    "0",
    '"auth"',
    "TICKET",
    '"TICKET"',
    "auth TICKET",
    "Bearer TICKET",
    '{"type":"auth"}',
    '{"ticket":"TICKET"}',
    '{"type":"auth","ticket":null}',
    '{"type":"auth","ticket":1}',
    '{"type":"auth","ticket":["TICKET"]}',
    '{"type":"auth","ticket":{"$ne":null}}',
    '{"type":"auth","ticket":"TICKET","role":"ADMIN"}',
    '{"type":"auth","ticket":"TICKET","__proto__":{}}',
    '{"type":"AUTH","ticket":"TICKET"}',
    '{"Type":"auth","ticket":"TICKET"}',
    '{"type":"authenticate","ticket":"TICKET"}',
    '{"type":["auth"],"ticket":"TICKET"}',
    '{"type":null,"ticket":"TICKET"}',
    '[{"type":"auth","ticket":"TICKET"}]',
    '{"type":"auth","ticket":"TICKET"',
    '{"type":"auth","ticket":"TICKET"}}',
    '{"type":"auth","ticket":"TICKET"}{"type":"auth","ticket":"TICKET"}',
    "{'type':'auth','ticket':'TICKET'}",
    '{"type":"auth","ticket":"TICKET",}',
    '\ufeff{"type":"auth","ticket":"TICKET"}',
    '\x00{"type":"auth","ticket":"TICKET"}',
    '{"type":"auth","ticket":"\\ud800"}',
    '{"type":"auth","ticket":"' + "x" * 257 + '"}',
    "[" * 4000,
    '{"a":' * 800,
    "9" * 4000,
    "NaN",
    "GET /api/admin/audit HTTP/1.1\r\n\r\n",
    b"",
    b'{"type":"auth","ticket":"TICKET"}',
    b"\x00\xff",
]
HUGE = [
    "x" * 4097,
    "💺" * 1025,
    '{"type":"auth","ticket":"TICKET"}' + " " * 4097,
]


async def test_a_first_message_that_is_none_is_refused(feed_of: Any) -> None:
    async with feed_of() as feed, feed.following() as good:
        ticket = await feed.ticket()
        expected = 'the first message has to be {"type":"auth","ticket":"..."}'
        for message in MALFORMED:
            async with feed.connection() as socket:
                is_text = isinstance(message, str)
                await socket.send(
                    message.replace(TICKET, ticket)
                    if is_text
                    else message.replace(TICKET.encode(), ticket.encode())
                )
                assert await farewell(socket) == (1008, expected), message
        for message in HUGE:
            async with feed.connection() as socket:
                await socket.send(message.replace(TICKET, ticket))
                reason = "the first message is larger than 4 KiB"
                assert await farewell(socket) == (1008, reason), message[:20]
        for message, code in ((b"\xff\xfe", 1007), (b"x" * 8193, 1009)):
            async with feed.connection() as socket:
                with suppress(ConnectionClosed):
                    await socket.send(message, text=True)
                assert (await farewell(socket))[0] == code
        added = await feed.append(1)
        assert await ids(good, 1) == added
        await good.close()
        await nothing_left()
        async with feed.connection() as socket:  # the ticket in all of them is still good
            await say_who(socket, ticket)
            await heartbeat(socket)


async def test_the_longest_good_message_is_taken(feed_of: Any) -> None:
    async with feed_of() as feed, feed.connection() as socket:
        message = await auth_message(feed)
        await socket.send(message + " " * (4096 - len(message)))
        await heartbeat(socket)


@pytest.mark.parametrize("ticket", ["", "x", "a" * 43, "a" * 256, "☃", "\u0000"])
async def test_a_made_up_ticket_is_refused(feed_of: Any, ticket: str) -> None:
    async with feed_of() as feed, feed.connection() as socket:
        await say_who(socket, ticket)
        assert await farewell(socket) == (1008, "The ticket is spent, expired or unknown.")


async def test_nothing_is_looked_up_for_who_has_no_ticket(
    feed_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def number_of(logs: AuditLogRepo, entry_id: str) -> int | None:
        asked.append(entry_id)
        return None

    monkeypatch.setattr(AuditLogRepo, "number_of", number_of)
    async with feed_of() as feed:
        for ticket, code in (("none", 1008), (await feed.ticket(), 4404)):
            async with feed.connection("act_1") as socket:
                await say_who(socket, ticket)
                assert (await farewell(socket))[0] == code
            assert asked == ([] if code == 1008 else ["act_1"])


async def test_what_happens_while_a_ticket_is_looked_at_is_new(
    feed_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with feed_of() as feed:
        ticket, added, redeem = await feed.ticket(), [], Tickets.redeem

        async def meanwhile(tickets: Tickets, shown: str) -> Identity:
            added.extend(await feed.append(1))
            return await redeem(tickets, shown)

        monkeypatch.setattr(Tickets, "redeem", meanwhile)
        async with feed.connection() as socket:
            await say_who(socket, ticket)
            assert await ids(socket, 1) == added


async def test_an_expired_ticket_is_refused(feed_of: Any) -> None:
    async with feed_of() as feed, feed.connection() as socket:
        ticket = await feed.ticket()
        await feed.database["tickets"].update_many({}, [{"$set": {"expires_at": "$$NOW"}}])
        await say_who(socket, ticket)
        assert (await farewell(socket))[0] == 1008


async def test_of_many_who_show_one_ticket_one_is_let_in(feed_of: Any) -> None:
    async with feed_of() as feed:
        ticket = await feed.ticket()

        async def outcome() -> str:
            async with feed.connection() as socket:
                await say_who(socket, ticket)
                try:
                    return (await receive(socket))["type"]
                except ConnectionClosed:
                    return str(socket.close_code)

        outcomes = await asyncio.gather(*(outcome() for _ in range(20)))
        assert sorted(outcomes) == ["1008"] * 19 + ["heartbeat"]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", GOOD_ORIGIN + ".evil.example"])
async def test_a_foreign_origin_is_refused_before_a_word(feed_of: Any, origin: str) -> None:
    async with feed_of() as feed, feed.connection(origin=origin) as socket:
        assert await farewell(socket) == (1008, "this origin is not allowed")


async def test_who_says_nothing_is_let_go(feed_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with feed_of() as feed:
        monkeypatch.setattr(audit_live, "FIRST_MESSAGE_SECONDS", 0.2)
        async with feed.connection() as socket:
            assert await farewell(socket) == (1008, "no first message within 5 s")
        monkeypatch.setattr(audit_live, "FIRST_MESSAGE_SECONDS", 1.0)
        async with feed.following(origin=GOOD_ORIGIN) as socket:  # who did speak stays longer
            until = monotonic() + 1.5
            while monotonic() < until:
                await heartbeat(socket)


async def test_who_leaves_before_an_answer_leaves_nothing(
    feed_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with feed_of() as feed:
        for polite in (True, False):
            for words in ([], ["nonsense"], [await auth_message(feed)]):
                for _ in range(5):
                    socket = await feed.connection()
                    for message in words:
                        await socket.send(message)
                    if not polite:
                        socket.transport.abort()
                    await socket.close()
        await nothing_left()
    assert complaints(caplog) == []


async def test_who_breaks_the_rules_in_full_flow_leaves_nothing(
    feed_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with feed_of() as feed:
        [anchor, *_] = await feed.append(2_000)
        for _ in range(10):
            async with feed.connection(anchor, max_queue=None) as socket:
                await socket.send(await auth_message(feed))
                await ids(socket, random.randrange(1, 300))
                await socket.send("x" * 10_000)
                with suppress(ConnectionClosed):
                    while True:
                        await receive(socket)
                assert socket.close_code == 1009
        await nothing_left()
    assert complaints(caplog) == []


# -- roles ---------------------------------------------------------------------------------------


async def test_who_was_administrator_at_sign_in_alone_is_refused(feed_of: Any) -> None:
    async with feed_of() as feed:
        for change in ({"role": "USER"}, None):
            was = await feed.person("was-admin")
            users = feed.database["users"]
            if change:
                await users.update_one({"_id": was.user_id}, {"$set": change})
            else:
                await users.delete_one({"_id": was.user_id})
            async with feed.connection() as socket:
                await say_who(socket, await feed.ticket(was))
                assert (await farewell(socket))[0] == 1008


@pytest.mark.parametrize("gone", [False, True])
async def test_a_role_that_is_taken_away_ends_the_feed(
    feed_of: Any, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    monkeypatch.setattr(audit_live, "ROLE_SECONDS", 0.1)
    async with feed_of() as feed, feed.following() as other, feed.connection() as socket:
        person = await feed.person("for-a-while")
        await say_who(socket, await feed.ticket(person))
        for _ in range(4):
            await heartbeat(socket)  # asked meanwhile, and still ADMIN
        users = feed.database["users"]
        if gone:
            await users.delete_one({"_id": person.user_id})
        else:
            await users.update_one({"_id": person.user_id}, {"$set": {"role": "USER"}})
        code, reason = await farewell(socket)
        expected = "The account does not exist any more." if gone else "this is for administrators"
        assert (code, reason) == (1008, expected)
        added = await feed.append(1)
        assert await ids(other, 1) == added


@pytest.mark.parametrize("open_already", [False, True])
@pytest.mark.parametrize("ending", ["blocked", "signed out"])
async def test_a_block_and_a_sign_out_end_the_feed(
    feed_of: Any, monkeypatch: pytest.MonkeyPatch, ending: str, open_already: bool
) -> None:
    """Whether the feed is open by then, or the ticket still to be shown."""
    monkeypatch.setattr(audit_live, "ROLE_SECONDS", 0.1)
    async with feed_of() as feed, feed.connection() as socket:
        person = await feed.person(f"{ending}-{open_already}".replace(" ", "-"))
        auth = auth_for(feed.database)
        user = await Users(feed.database).get(person.user_id)
        assert user is not None
        session = await auth.sessions.open(user)
        identity = Identity(user.id, "ADMIN", session.session_id)
        ticket = await feed.ticket(identity)
        if open_already:
            await say_who(socket, ticket)
            for _ in range(4):
                await heartbeat(socket)  # asked meanwhile, and still signed in
        if ending == "blocked":
            where = {"_id": user.id}
            await feed.database["users"].update_one(where, {"$set": {"blocked": True}})
        else:
            await auth.sessions.end(session.refresh_token, "req")
        if not open_already:
            await say_who(socket, ticket)
        reasons = {"blocked": "This account is blocked.", "signed out": "The session has ended."}
        assert await farewell(socket) == (1008, reasons[ending])
