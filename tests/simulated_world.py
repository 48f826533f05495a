"""The world of a simulation: stores that all share, processes that come and go, and time."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from server.catalogue import Auditorium, Layout, Row, Seat
from server.errors import RowlockError
from server.models import from_ms
from server.payments import PaymentUnknown
from server.repo.keys import partition_of
from server.repo.mongo import UNAVAILABLE, BulkWriteError
from server.repo.seat_answers import SeatsTaken
from server.repo.seat_log import LogEntry
from tests.memory_mongo import MemoryDatabase, MemoryMongo
from tests.model_scripts import whole
from tests.programme import CINEMA, a_showtime, store
from tests.seat_model import ModelSeats
from tests.seat_model_state import Stored
from tests.simulated_bank import Bank, Intent
from tests.simulated_faults import Faults
from tests.simulated_time import Clock, moment
from tests.virtual_time import VirtualLoop

if TYPE_CHECKING:
    from tests.simulated_process import Process

START = 1_800_000_000.0
SHOWTIME = "sho_1"
HALL = Layout(
    (
        Row("A", tuple(Seat(f"A{n}", n) for n in (1, 2, 3))),
        Row("B", (Seat("B1", 1, "premium"),)),
    )
)
ROOM = Auditorium("aud_a", "Hall A", HALL.id)
PLACE = replace(CINEMA, auditoriums=(ROOM,))
PARTITION = partition_of(SHOWTIME)
PEOPLE = ("ann", "ben", "cat", "ada")
ADMIN = "ada"

EXPECTED = (RowlockError, *UNAVAILABLE, BulkWriteError, PaymentUnknown, TimeoutError, SeatsTaken)
"""What may be raised when stores fail, or another is quicker; anything else is a bug."""


class World:
    """Everything that outlives a process."""

    def __init__(self, clock: Clock, seed: int, make: Callable[["World", str], "Process"]) -> None:
        self._make = make
        self.random = Random(seed)
        self.loop = clock.loop = VirtualLoop(self.random, START)
        clock.random = self.random
        self.faults = Faults(self.random)
        self.faults_on = True
        self.trace: list[str] | None = None
        self.mongo_skew = 0.0
        self.ttl = 0.0
        self.job_pause = 1.0
        self.watching = False
        self.remembers = False
        self.remembered = [Stored()]
        """What Redis held before each of the last changes, where a replica is to take over."""
        self.house = False
        """Whether the house cancels the showtime at some time."""
        self.mongo = MemoryMongo(self._mongo_now)
        self._moment = 0, moment(0.0)
        self.seats = ModelSeats(self.redis_now, ttl_ms=0, max_seats_per_user=3)
        self.bank = Bank(self._settled)
        self.webhooks = False
        self.processes: list[Process] = []
        self.unexpected: list[str] = []
        self.on_outcome: Callable[[Intent], None] = lambda intent: None
        self.on_announcement: Callable[[list[LogEntry]], None] = lambda entries: None
        self._announce = self.seats.state.announce
        self.seats.state.announce = self._publish  # type: ignore[method-assign]

    @property
    def now(self) -> float:
        return self.loop.time()

    def remembering(self, script: Callable[[], Any]) -> Callable[[], Any]:
        """A script that leaves behind what Redis held before it, if it changed anything."""

        def run() -> Any:
            before, changes = self.seats.snapshot(), len(self.seats.published)
            answer = script()
            if len(self.seats.published) > changes:
                self.remembered = [*self.remembered[-2:], before]
            return answer

        return run

    def _mongo_now(self) -> datetime:
        ms = int((self.loop.time() + self.mongo_skew) * 1000)
        if ms != self._moment[0]:
            self._moment = ms, from_ms(ms)
        return self._moment[1]

    def redis_now(self) -> int:
        return int(self.loop.time() * 1000)

    def plan(self, ttl: float, starts_in: float) -> None:
        """Put a showtime on, and people who may buy."""
        self.ttl = ttl
        self.seats.seats._ttl_ms = round(ttl * 1000)
        starts_at = moment(START) + timedelta(seconds=starts_in)
        self.showtime = a_showtime(SHOWTIME, starts_at, layout=HALL, auditorium=ROOM, cinema=PLACE)
        database: Any = MemoryDatabase(self.mongo)
        whole(store(database, self.showtime))
        for person in PEOPLE:
            row = {"provider": "oidc", "sub": person, "name": person, "role": "USER"}
            row |= {"_id": person, "email": f"{person}@example.com"}
            self.mongo.write("users", None, row)

    def cut(self, count: int) -> int:
        """Of so many documents, say how many are inserted in one step."""
        if self.faults_on and count > 1 and self.random.random() < 0.3:
            return self.random.randint(1, count)
        return count

    # -- processes ----------------------------------------------------------------------------

    def begin(self) -> "Process":
        process = self._make(self, f"p{len(self.processes) + 1}")
        self.processes.append(process)
        process.work(self.job_pause)
        return process

    def replace(self) -> None:
        """A process has died: start another one."""
        self.note("world", "starts a process", self.begin().name)

    @property
    def living(self) -> "list[Process]":
        return [process for process in self.processes if process.alive]

    def judge(self, what: str, error: Exception) -> None:
        """Keep an error that nothing in this world explains."""
        if not isinstance(error, EXPECTED):
            self.unexpected.append(f"{what}: {error!r}")

    # -- what happens in it ---------------------------------------------------------------------

    def note(self, who: str, what: str, *how: object) -> None:
        """Write it into the trace, when there is one."""
        if self.trace is not None:
            told = " ".join(map(str, how))[:400]
            self.trace.append(f"{self.now - START:9.3f}  {who:<6} {what:<34} {told}")

    def at(self, seconds: float, act: Callable[[], object]) -> None:
        """Let something happen so much later, whoever dies until then."""
        self.loop.at(self.now + seconds, act)

    def _settled(self, intent: Intent) -> None:
        self.note("bank", intent.id, intent.outcome)
        self.on_outcome(intent)
        if self.webhooks and intent.outcome != "cancelled":
            for _ in range(self.random.randint(0, 2)):
                self.at(self.random.random() * 20, partial(self._hear, intent.id))

    def _hear(self, intent_id: str) -> None:
        if self.living:
            process = self.random.choice(self.living)
            hear = partial(process.settlement.hear, intent_id)
            self.loop.spawn(process, process.quietly("hear", hear))

    def _publish(self, showtime: Any, events: Any, request_id: str = "") -> None:
        self._announce(showtime, events, request_id)
        _, change = self.seats.published[-1]
        self.note("redis", change.epoch[:4], change.seq, change.events)
        log = self.seats.state.stored.logs[PARTITION]
        self.on_announcement(log[len(log) - len(events) :])
        listening = [process for process in self.living if process.channel]
        if listening:
            payload = json.dumps(asdict(change))
            for process in listening:
                self.loop.at(self.now, process.hear, payload, owner=process)
