"""The crowd as a whole: it comes, is shown, leaves in order, and is asked what it has seen."""

import asyncio
import resource
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2

from server.crowd.buyers import Buyer
from server.crowd.figures import Figures
from server.crowd.screen import Terminal
from server.crowd.visitor import Away, CrowdError, Visitor
from server.crowd.watchers import Hall, Position, Watcher
from server.detached import end

_CONNECTING = 50
"""Watchers that connect at a time: what comes faster waits in the server's queue anyway."""
_SIGNING_IN = 5
_CHOICE = 20
"""Of so many showtimes the emptiest is taken."""
_SOON = timedelta(hours=1)
"""What starts before that is left alone: with its start the sale ends."""
_FILES = 200
"""What the process has open besides its watchers and buyers."""
_GOODBYE_SECONDS = 5.0
_VERDICT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to see. `showtime` "": the one of the next that has most free seats;
    `seconds` None: until cancelled; at `pace` 2 people think half as long."""

    server: str
    showtime: str
    watchers: int
    buyers: int
    seconds: float | None
    pace: float


async def show(wish: Wish, screen: Terminal) -> None:
    """Send a crowd until its time is over or it is cancelled, and sum up.

    Raises CrowdError when it cannot come, and when some watcher's map is wrong in the end.
    """
    _allow_files(wish.watchers + 2 * wish.buyers + _FILES)
    figures = Figures(wish.watchers)
    try:
        guide = Visitor(wish.server, figures, httpx2.create_ssl_context())
    except httpx2.InvalidURL:
        raise CrowdError(f"{wish.server} is not the address of a server") from None
    try:
        showtime = await _showtime(guide, wish.showtime)
        hall = Hall(wish.server, showtime["id"], await _seats(guide, showtime["id"]))
        if wish.buyers:
            await guide.sign_in(_email(1))
        movie, starts_at = showtime["movie"]["title"], showtime["starts_at"]
        screen.text(f"{movie}, {starts_at}: {wish.server}/showtimes/{hall.showtime_id}")
        await Crowd(wish, hall, figures, guide).perform(screen)
    except Away:
        raise CrowdError(f"no server answers at {wish.server}") from None
    finally:
        await guide.close()


class Crowd:
    def __init__(self, wish: Wish, hall: Hall, figures: Figures, guide: Visitor) -> None:
        """`guide` shows the map to compare with."""
        connecting, signing_in = asyncio.Semaphore(_CONNECTING), asyncio.Semaphore(_SIGNING_IN)
        self._seconds = wish.seconds
        self._hall = hall
        self._figures = figures
        self._guide = guide
        self._watchers = [Watcher(hall, figures, connecting) for _ in range(wish.watchers)]
        self._buyers = [
            Buyer(guide.companion(), _email(number), hall, figures, signing_in, wish.pace)
            for number in range(1, wish.buyers + 1)
        ]

    async def perform(self, screen: Terminal) -> None:
        """Come, act, leave. A cancellation ends the show in order, a second one at once."""
        watching = [asyncio.create_task(watcher.follow()) for watcher in self._watchers]
        buying = [asyncio.create_task(buyer.live()) for buyer in self._buyers]
        try:
            with suppress(TimeoutError, asyncio.CancelledError):
                async with asyncio.timeout(self._seconds):
                    await self._tell(screen, [*watching, *buying])
            await end(*buying)
            await self._say_goodbye()
            right = await self._right()
        finally:
            await end(*watching, *buying)
        screen.text(self._figures.summary())
        if right < len(self._watchers):
            raise CrowdError(f"{right} of {len(self._watchers)} watchers show the server's map")
        screen.text(f"  All {right} watchers show the server's map.")

    async def _tell(self, screen: Terminal, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Show a line a second; raises what has ended a task, which none does by itself."""
        while True:
            ended, _ = await asyncio.wait(tasks, timeout=1) if tasks else (set(), None)
            for task in ended:
                task.result()
            screen.line(self._figures.line())

    async def _say_goodbye(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await asyncio.gather(*(buyer.leave() for buyer in self._buyers))

    async def _right(self) -> int:
        """Return how many watchers show what the server shows, given a moment to catch up."""
        maps: dict[Position, bytes] = {}
        waiting, give_up = set(self._watchers), time.monotonic() + _VERDICT_SECONDS
        while waiting and time.monotonic() < give_up:
            position, states = await _map(self._guide, self._hall.showtime_id)
            maps[position] = states
            waiting -= {
                w for w in waiting if w.position and maps.get(w.position) == bytes(w.states)
            }
            await asyncio.sleep(0.05)
        return len(self._watchers) - len(waiting)


async def _showtime(guide: Visitor, wanted: str) -> dict[str, Any]:
    """Return the showtime that is wanted, or the one of the next that has most free seats."""
    if wanted:
        answer = await guide.call("showtime", "GET", f"/api/showtimes/{wanted}")
        if answer.status_code != 200:
            raise CrowdError(f"there is no showtime {wanted}")
        return dict(_read(answer)["showtime"])
    answer = await guide.call("showtimes", "GET", f"/api/showtimes?limit={_CHOICE}")
    found = _read(answer).get("items", [])
    if not found:
        raise CrowdError("no showtime is planned: `rowlock seed` loads some")
    soon = datetime.now(UTC) + _SOON
    lasting = [each for each in found if datetime.fromisoformat(each["starts_at"]) > soon] or found
    free = [(await _map(guide, each["id"]))[1].count(b".") for each in lasting]
    return dict(lasting[free.index(max(free))])


async def _seats(guide: Visitor, showtime_id: str) -> list[str]:
    answer = await guide.call("map", "GET", f"/api/showtimes/{showtime_id}/seat-map")
    return [seat["id"] for row in _read(answer)["layout"]["rows"] for seat in row["seats"]]


async def _map(guide: Visitor, showtime_id: str) -> tuple[Position, bytes]:
    shown = _read(await guide.call("map", "GET", f"/api/showtimes/{showtime_id}/seat-map"))
    return Position(shown["epoch"], shown["seq"]), shown["states"].encode()


def _read(answer: httpx2.Response) -> dict[str, Any]:
    try:
        return dict(answer.json())
    except ValueError:
        raise CrowdError(f"what answers at {answer.url} is not Rowlock") from None


def _email(number: int) -> str:
    return f"crowd-{number}@example.com"


def _allow_files(needed: int) -> None:
    """Let the process have so many files open: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise CrowdError(f"this machine allows {hard} open files, and {needed} are needed")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
