"""`rowlock simulate`: a crowd at a running server, and what it leaves in the stores."""

import asyncio
import os
import re
import signal
import sys
from collections import Counter
from contextlib import asynccontextmanager, suppress
from io import StringIO

import httpx2
import pytest

from server.crowd.buyers import Buyer
from server.crowd.crowd import Wish, show
from server.crowd.figures import Figures
from server.crowd.screen import Terminal
from server.crowd.visitor import Away, CrowdError, Visitor
from server.crowd.watchers import Hall, Position, Watcher
from tests.running import HALL, IN_MODULE_LOOP, booked, eventually, lock, pay, served
from tests.toxic_proxy import ToxicProxy

pytestmark = IN_MODULE_LOOP

server = served()


def wish(server, showtime, **changes):
    given = {"watchers": 10, "buyers": 3, "seconds": 2.0, "pace": 30.0, **changes}
    return Wish(
        server=server if isinstance(server, str) else server.url, showtime=showtime, **given
    )


@asynccontextmanager
async def watching(hall, count):
    figures = Figures(count)
    watchers = [Watcher(hall, figures, asyncio.Semaphore(5)) for _ in range(count)]
    tasks = [asyncio.create_task(watcher.follow()) for watcher in watchers]
    try:
        yield watchers, figures
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert figures.connected == 0


async def drawn(server, showtime):
    """Return the map as Redis has it."""
    seats = await server.stored.seats(showtime)
    shown = {"l": "l", "c": "l", "b": "b", "x": "x"}
    return "".join(shown[seats[seat][0]] if seat in seats else "." for seat in HALL.seat_ids)


async def test_what_the_crowd_says_is_what_the_stores_hold(server):
    showtime, out = await server.showtime(), StringIO()
    await show(wish(server, showtime, seconds=5.0), Terminal(out))
    told = out.getvalue()
    counts = {name: int(number) for number, name in re.findall(r"([\d]+) ([a-z]+)", told)}
    bookings = await server.stored.bookings_of(showtime)
    entries = Counter(entry["action"] for row in bookings for entry in row["timeline"])
    assert entries["booking.confirmed"] >= counts["booked"] > 0
    assert entries["payment.declined"] >= counts["declined"]
    assert all(row["showtime_id"] == showtime for row in bookings)
    emails = await server.stored.database["users"].distinct("email")
    assert {f"crowd-{number}@example.com" for number in (1, 2, 3)} <= set(emails)
    assert (counts["odd"], counts["unanswered"], counts["gaps"]) == (0, 0, 0)
    assert "All 10 watchers show the server's map." in told
    held = {seat[2:] for seat in (await server.stored.seats(showtime)).values() if seat[0] == "l"}
    assert held == set(), "who leaves lets go"


async def test_watchers_see_what_redis_holds_also_after_their_connections_broke(server):
    showtime = await server.showtime()
    async with ToxicProxy(server.settings.port) as proxy:
        hall = Hall(f"http://127.0.0.1:{proxy.port}", showtime, HALL.seat_ids)
        async with watching(hall, 5) as (watchers, figures):

            async def all_see_it():
                held = await drawn(server, showtime)
                return held != seen and {w.states.decode() for w in watchers} == {held}

            seen = "?"
            await eventually(all_see_it)
            seen = await drawn(server, showtime)
            await lock(server.bob, showtime, "A1", "A2")
            await eventually(all_see_it)
            seen = await drawn(server, showtime)
            await pay(server.bob, await booked(server.bob, showtime, "A1"))
            proxy.cut()
            await lock(server.eve, showtime, "B3")
            await eventually(all_see_it)
            assert figures.counts["reconnects"] == 5
            assert figures.connected == 5


def watcher_at(epoch, seq, states=b"...."):
    hall = Hall("http://localhost", "sho_1", ["A1", "A2", "A3", "A4"])
    watcher = Watcher(hall, Figures(1), asyncio.Semaphore(1))
    watcher.position, watcher.states = Position(epoch, seq), bytearray(states)
    return watcher


def frame(epoch, prev, seq, state, *seats):
    named = ",".join(f'"{seat}"' for seat in seats)
    return (
        f'{{"type":"events","epoch":"{epoch}","prev":{prev},"seq":{seq},"server_time":0,'
        f'"events":[{{"type":"seat.{state}","seats":[{named}]}}]}}'
    ).encode()


async def test_a_watcher_follows_the_rule():
    watcher = watcher_at("e", 5)
    assert watcher.take(frame("e", 3, 5, "booked", "A1")), "old news"
    assert watcher.states == b"...."
    assert watcher.take(frame("e", 4, 7, "booked", "A1")), "an overlap is harmless"
    assert (watcher.states, watcher.position) == (b"b...", Position("e", 7))
    assert not watcher.take(frame("e", 8, 9, "locked", "A2")), "a gap"
    assert (watcher.states, watcher.position) == (b"b...", Position("e", 7))
    assert not watcher.take(frame("f", 7, 8, "locked", "A2")), "another epoch"
    assert watcher.position is None
    shown = b'{"type":"snapshot","epoch":"f","seq":2,"server_time":0,"states":"l..x"}'
    assert watcher.take(shown)
    assert (watcher.states, watcher.position) == (b"l..x", Position("f", 2))


async def test_a_heartbeat_tells_that_the_last_change_was_lost():
    def heartbeat(seq):
        return f'{{"type":"heartbeat","seq":{seq},"server_time":0}}'.encode()

    watcher = watcher_at("e", 5)
    assert watcher.take(heartbeat(4)), "it was under way when we came to 5"
    assert watcher.take(heartbeat(5)), "nothing is missing"
    assert watcher._figures.counts["gaps"] == 0
    assert not watcher.take(heartbeat(6)), "a gap"
    assert watcher.position == Position("e", 5), "to come back from"
    assert watcher._figures.counts["gaps"] == 1
    watcher.position = None
    assert watcher.take(heartbeat(6)), "no map, no gap"


async def test_a_watcher_with_a_wrong_map_is_not_hidden(server, monkeypatch):
    monkeypatch.setattr(Watcher, "_apply", lambda *_: None)
    monkeypatch.setattr("server.crowd.crowd._VERDICT_SECONDS", 0.3)
    showtime = await server.showtime()
    out = StringIO()
    coming = asyncio.create_task(show(wish(server, showtime, watchers=3, buyers=0), Terminal(out)))

    async def all_watch():
        return " 3/3 watching" in out.getvalue()

    await eventually(all_watch)
    assert (await lock(server.bob, showtime, "A1")).status_code == 200
    with pytest.raises(CrowdError, match="0 of 3 watchers show"):
        await coming


async def test_by_default_it_takes_the_emptiest_of_the_next_showtimes(server):
    full, empty = await server.showtime(), await server.showtime()
    assert (await lock(server.eve, full, "A1")).status_code == 200
    out = StringIO()
    await show(wish(server, "", watchers=1, buyers=0, seconds=0.1), Terminal(out))
    chosen = out.getvalue().split("/showtimes/")[1].split()[0]
    assert chosen != full
    assert await drawn(server, chosen) == await drawn(server, empty)


async def test_what_cannot_be_is_told_in_one_line(server):
    nowhere = wish("http://127.0.0.1:1", "")
    with pytest.raises(CrowdError, match=r"^no server answers at http://127.0.0.1:1$"):
        await show(nowhere, Terminal(StringIO()))
    with pytest.raises(CrowdError, match=r"^http://localhost:none is not the address of a server$"):
        await show(wish("http://localhost:none", ""), Terminal(StringIO()))
    with pytest.raises(CrowdError, match=r"^there is no showtime sho_none$"):
        await show(wish(server, "sho_none"), Terminal(StringIO()))


@asynccontextmanager
async def answering(*answers):
    """A server that gives these answers, one after the other, and counts what it was asked."""
    left = list(answers)

    async def serve(reader, writer):
        with suppress(asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                keys.append(re.findall(r"(?i)idempotency-key: (\w+)", head))
                writer.write(left.pop(0) + b"content-length: 2\r\n\r\n{}")
        writer.close()

    keys: list[list[str]] = []
    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", keys


async def test_who_is_told_to_wait_waits_and_asks_the_same_again():
    figures = Figures(0)
    wait, done = b"HTTP/1.1 429 No\r\nretry-after: 0\r\n", b"HTTP/1.1 200 OK\r\n"
    async with answering(wait, wait, done) as (url, keys):
        visitor = Visitor(url, figures, httpx2.create_ssl_context())
        answer = await visitor.call("pay", "POST", "/")
        await visitor.close()
    assert answer.status_code == 200
    assert figures.counts["limited"] == 2
    assert len(keys) == 3
    assert keys[0] == keys[1] == keys[2]


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
async def test_a_watcher_that_is_turned_away_was_not_connected_and_waits_as_told(status):
    figures = Figures(1)
    async with answering(f"HTTP/1.1 {status}\r\nretry-after: 30\r\n".encode()) as (url, asked):
        watcher = Watcher(Hall(url, "sho_1", ["A1"]), figures, asyncio.Semaphore(1))
        seconds = await watcher._connection()
    assert len(asked) == 1
    assert 30 < seconds <= 32
    assert figures.counts == {"turned away": 1}
    assert figures.connected == 0


@pytest.mark.parametrize("status", ["500 Internal Server Error", "404 Not Found"])
async def test_a_buyer_who_is_not_shown_the_map_finds_nothing_free(status):
    figures = Figures(0)
    async with answering(f"HTTP/1.1 {status}\r\n".encode()) as (url, asked):
        visitor, hall = Visitor(url, figures, httpx2.create_ssl_context()), Hall(url, "s", ["A1"])
        buyer = Buyer(visitor, "crowd-1@example.com", hall, figures, asyncio.Semaphore(1), pace=1)
        assert await buyer._free_seats() == []
        await visitor.close()
    assert len(asked) == 1
    assert figures.counts == {"odd": 1}


@pytest.mark.parametrize("called_away", ["while locking", "while booking", "before paying"])
async def test_who_is_called_away_in_the_middle_leaves_nothing_behind(server, called_away):
    showtime, figures = await server.showtime(), Figures(0)
    async with ToxicProxy(server.settings.port) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        visitor = Visitor(url, figures, httpx2.create_ssl_context())
        hall, turns = Hall(url, showtime, HALL.seat_ids), asyncio.Semaphore(1)
        buyer = Buyer(visitor, "crowd-1@example.com", hall, figures, turns, pace=0.01)
        await visitor.sign_in("crowd-1@example.com")
        if called_away != "while locking":
            await buyer._take(["A1", "A2"])
        if called_away == "before paying":
            doing = asyncio.create_task(buyer._buy())
            await eventually(lambda: server.stored.bookings_of(showtime))
        else:
            proxy.delay = 0.2
            step = buyer._take(["A1", "A2"]) if called_away == "while locking" else buyer._book()
            doing = asyncio.create_task(step)
        await asyncio.sleep(0.3)  # asked, and not answered; or thinking
        doing.cancel()
        await buyer.leave()
    assert doing.cancelled()
    assert await server.stored.seats(showtime) == {}
    acts = [row["timeline"][-1]["action"] for row in await server.stored.bookings_of(showtime)]
    assert acts == ([] if called_away == "while locking" else ["booking.cancelled"])


async def test_a_server_without_the_development_provider_is_named():
    google = b"HTTP/1.1 302 Found\r\nlocation: https://accounts.google.test/auth\r\n"
    busy = b"HTTP/1.1 303 See Other\r\nlocation: /?auth_error=too_often\r\n"
    async with answering(google, busy) as (url, _):
        visitor = Visitor(url, Figures(0), httpx2.create_ssl_context())
        with pytest.raises(CrowdError, match="no development provider"):
            await visitor.sign_in("crowd-1@example.com")
        with pytest.raises(Away):
            await visitor.sign_in("crowd-1@example.com")
        await visitor.close()


def simulate(tmp_path, *arguments):
    return asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "server", "simulate", *arguments),
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_ctrl_c_ends_it_in_order(server, tmp_path):
    showtime = await server.showtime()
    given = ("--server", server.url, "--showtime", showtime, "--pace", "20")
    process = await simulate(tmp_path, *given, "--watchers", "5", "--buyers", "2")
    assert process.stdout
    async with asyncio.timeout(30):
        while b" 5/5 watching" not in await process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert b"All 5 watchers show the server's map." in out
    held = (await server.stored.seats(showtime)).values()
    assert [seat for seat in held if seat.startswith("l:")] == []


async def test_the_command_says_in_one_line_that_nobody_is_there(tmp_path):
    process = await simulate(tmp_path, "--server", "http://127.0.0.1:1")
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert (process.returncode, out) == (1, b"")
    assert err == b"rowlock: no server answers at http://127.0.0.1:1\n"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (["--watchers", "0", "--buyers", "0"], 1),
        (["--watchers", "-1"], 2),
        (["--buyers", "-5"], 2),
    ],
)
async def test_a_crowd_of_nobody_is_refused(tmp_path, asked, code):
    process = await simulate(tmp_path, "--seconds", "1", *asked)
    async with asyncio.timeout(20):
        out, err = await process.communicate()
    assert process.returncode == code
    assert out == b""
    assert (b"nobody is to be sent" if code == 1 else b"is no number from 0 on") in err
