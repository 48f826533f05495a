"""A lane of the crash matrix: stores of its own, and a server or worker that dies again and again.

What is started after one crash is what dies in the next: it has healed the first one meanwhile.
"""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic

from server.models import new_id
from tests.aftermath import Aftermath, audited, checked, rest
from tests.crash_points import SHORTER, STEPS, Point
from tests.crash_stories import PAIRS, STORIES, Scene
from tests.crashing import Trap
from tests.customers import Customer, Ledger, introduce
from tests.processes import REPOSITORY, START_SECONDS, RowlockProcess, start
from tests.running import plan
from tests.stored import Stored

LOCK_SECONDS = 3
STRIKE_SECONDS = 15.0
HEAL_SECONDS = 10.0
"""How long after the last deadline of what was open everything is as it should be."""
DEADLINES = LOCK_SECONDS + max(SHORTER["server.repo.bookings:PAY_SECONDS"], 2)


@dataclass(frozen=True, slots=True)
class Crash:
    """One kill and what came of it; `healed` in seconds after the kill."""

    point: Point
    seed: int
    struck: bool
    healed: float
    problems: list[str]


class Lane:
    def __init__(
        self, stored: Stored, directory: Path, *, worker: bool, source: Path = REPOSITORY
    ) -> None:
        self.stored = stored
        self.crashes: list[Crash] = []
        self._directory = directory
        self._worker = worker
        self._source = source
        self._number = itertools.count()
        self._trap = Trap(directory)
        self._launcher = self._trap.set(STEPS, SHORTER)
        self._calm = Trap(_made(directory / "calm")).set([], SHORTER)
        self._server: RowlockProcess | None = None
        self._mortal: RowlockProcess | None = None

    async def open(self) -> None:
        if self._worker:
            self._server = self._start("serve", BACKGROUND_WORK="off")
            await self._server.serving()
        await self._restart()

    async def close(self) -> None:
        for process in (self._mortal, self._server):
            if process:
                await process.stop()

    def _port(self) -> int:
        return self._server.port if self._server else 0

    def _start(self, command: str, **more: str) -> RowlockProcess:
        environment = {
            "REDIS_URL": self.stored.redis_url,
            "MONGO_URI": self.stored.mongo_uri,
            "SEAT_LOCK_TTL": str(LOCK_SECONDS),
            "LOG_LEVEL": "INFO" if command == "worker" else "WARNING",
            **more,
        }
        log = self._directory / f"{command}-{next(self._number)}.log"
        mortal = command == "worker" or not self._worker
        launcher = self._launcher if mortal else self._calm
        return start(command, log, self._source, environment, launcher)

    async def _restart(self) -> None:
        async with asyncio.timeout(START_SECONDS):
            self._mortal = self._start("worker" if self._worker else "serve")
            if self._worker:
                await self._mortal.said("background work started")
            else:
                self._server = self._mortal
                await self._mortal.serving()

    async def crash(self, point: Point, seed: int) -> Crash:
        """Tell the point's story, kill once in it, start again, wait until all is healed, judge."""
        chance = random.Random(f"{point.name} {seed}")
        showtime, ledger, away = await plan(self.stored.database), Ledger(), Ledger()
        away.asked = ledger.asked
        people = [Customer(f"usr_{seed}_{n}", self._port, ledger) for n in range(len(PAIRS))]
        flighty = [
            Customer(f"usr_{seed}_{n}", self._port, away, patience=0.001) for n in range(len(PAIRS))
        ]
        rival = Customer(f"usr_{seed}_rival", self._port, ledger)
        admin = Customer("usr_admin", self._port, ledger, role="ADMIN")
        await introduce(self.stored.database, *(p.user for p in (*people, rival)))
        await introduce(self.stored.database, admin.user, role="ADMIN")
        copied = partial(audited, self.stored, showtime)
        scene = Scene(self.stored, showtime, people, flighty, rival, admin, chance, copied)
        try:
            return await self._crash(point, seed, scene, ledger)
        finally:
            for customer in (*people, *flighty, rival, admin):
                customer.close()

    async def _crash(self, point: Point, seed: int, scene: Scene, ledger: Ledger) -> Crash:
        story = STORIES[point.story]
        assert self._mortal
        path = f"/api/showtimes/{scene.showtime}/seat-map"
        await scene.admin.ask("look again", "GET", path)  # the showtime is loaded from here on
        if story.prepare:
            await story.prepare(scene)
        self._trap.arm(point.step, point.when, scene.chance.randint(1, point.calls))
        acting = asyncio.create_task(story.act(scene))
        try:
            struck, problems = await self._dies()
            killed_at = monotonic()
            await acting
        finally:
            acting.cancel()
            self._trap.disarm()
        healed = await self._heals(scene.showtime, killed_at)
        if healed is None:
            what = await rest(self.stored, scene.showtime)
            problems.append(f"not healed {monotonic() - killed_at:.1f} s after the kill: {what}")
        await self._again(scene, ledger)
        problems += await Aftermath(self.stored, scene.showtime, ledger).judge()
        problems += await checked(self.stored)
        if self._mortal.errors():
            problems.append(self._mortal.log())
        crash = Crash(point, seed, struck, healed or 0.0, problems)
        self.crashes.append(crash)
        return crash

    async def _dies(self) -> tuple[bool, list[str]]:
        """Wait for the kill and start what follows."""
        assert self._mortal
        try:
            code = await self._mortal.ended(STRIKE_SECONDS)
        except AssertionError:
            return False, [f"nothing was struck within {STRIKE_SECONDS} s"]
        order = self._trap.struck()
        problems = [] if order and code == -9 else [f"it ended with {code}: {self._mortal.log()}"]
        await self._restart()
        return bool(order), problems

    async def _heals(self, showtime: str, killed_at: float) -> float | None:
        while await rest(self.stored, showtime):
            if monotonic() > killed_at + DEADLINES + HEAL_SECONDS:
                return None
            await asyncio.sleep(0.05)
        return monotonic() - killed_at

    async def _again(self, scene: Scene, ledger: Ledger) -> None:
        """Send every request that has a key once more, now that all is over."""
        keyed = {(ack.user, ack.key): ack for ack in ledger.acks if ack.key}
        by_name = {customer.user: customer for customer in (*scene.customers, scene.rival)}
        await asyncio.gather(*(by_name[user].again(ack) for (user, _), ack in keyed.items()))


def _made(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    return directory


@asynccontextmanager
async def lane(
    stored: Stored, *, worker: bool, directory: Path, source: Path = REPOSITORY
) -> AsyncIterator[Lane]:
    opened = Lane(stored, _made(directory / new_id("lane")), worker=worker, source=source)
    try:
        await opened.open()
        yield opened
    finally:
        await opened.close()
