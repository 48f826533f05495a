"""A simulation of the booking saga: the server's own code, in virtual time, with everything going
wrong that a seed can think of.

    python -m tests.simulation SEED            run one seed and print what happened
    python -m tests.simulation FIRST LAST      run many and print what was broken

One seed draws a small world (a hall of four seats, a few people, one to three processes), a set of
faults, and an order of events. When the faults stop, the background work goes on until nothing is
due; then the oracle judges.
"""

import asyncio
import gc
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from unittest.mock import patch

from tests.simulated_faults import CALLS, CRITICAL, KINDS
from tests.simulated_oracle import Oracle
from tests.simulated_people import ACTS, Administrator, Buyer
from tests.simulated_process import Process
from tests.simulated_time import Clock, lived_by
from tests.simulated_verdict import Verdict
from tests.simulated_world import PARTITION, SHOWTIME, World
from tests.virtual_time import Stuck

ROUNDS = 60
"""So many rounds of background work must be enough to bring everything to rest."""


@dataclass
class Outcome:
    seed: int
    violations: list[str]
    counts: Counter[str] = field(default_factory=Counter)
    fingerprint: str = ""
    trace: list[str] = field(default_factory=list)


@contextmanager
def staged() -> Iterator[Clock]:
    """Set the stage for any number of seeds: the server's code lives by the clock that is given."""
    clock = Clock()
    log = logging.getLogger("rowlock")
    level, propagate = log.level, log.propagate
    with ExitStack() as stack:
        stack.enter_context(lived_by(clock))
        for name in ("reconciler", "audit", "lock_sweeper"):  # the others have no showtime
            stack.enter_context(patch(f"server.{name}.PARTITIONS", (PARTITION,)))
        stack.enter_context(patch("server.rebuild._POLL_SECONDS", 0.5))
        log.setLevel(logging.ERROR)
        log.propagate = False
        try:
            yield clock
        finally:
            log.setLevel(level)
            log.propagate = propagate


def run(clock: Clock, seed: int, *, trace: bool = False) -> Outcome:
    """Run one seed on a stage that is set."""
    world = World(clock, seed, Process)
    if trace:
        world.trace = []
    oracle = Oracle(world)
    errors = _Errors(world)
    logging.getLogger("rowlock").addHandler(errors)
    try:
        world.loop.run(_Play(world, oracle, clock).play())
    except Stuck as stuck:
        oracle.broken(f"stuck: {stuck}")
    finally:
        logging.getLogger("rowlock").removeHandler(errors)
        fingerprint = f"{world.loop.steps} {world.now:.6f} {world.random.random():.12f}"
        world.loop.dismiss()
    oracle.counts.update(world.faults.struck)
    return Outcome(seed, oracle.violations, oracle.counts, fingerprint, world.trace or [])


class _Errors(logging.Handler):
    """What the server logs as an error is one, unless the stores explain it."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, Exception):
            self._world.judge(record.getMessage(), error)


class _Play:
    """One seed, from the first process to the verdict."""

    def __init__(self, world: World, oracle: Oracle, clock: Clock) -> None:
        self._world = world
        self._oracle = oracle
        self._verdict = Verdict(oracle)
        self._clock = clock
        self._draw = world.random

    async def play(self) -> None:
        self._cast()
        await self._trouble()
        await self._rest()
        await asyncio.sleep(60)  # some process may still be at something, for nobody
        if self._verdict.unsettled():
            await self._rest()
        await self._look()
        self._verdict.judge()

    def _cast(self) -> None:
        """Draw the world and what will go wrong in it."""
        world, draw = self._world, self._draw
        world.mongo_skew = draw.choice((0.0, 0.0, 0.0, draw.uniform(-2, 2)))
        self._clock.skew = draw.choice((0.0, 0.0, draw.uniform(-2, 2)))
        world.job_pause = draw.choice((3.0, 6.0, 12.0))
        world.webhooks = draw.random() < 0.3
        faults = world.faults
        faults.kinds = tuple(draw.sample(KINDS, draw.randint(1, len(KINDS))))
        often = draw.choice((0.0, 0.01, 0.02, 0.05))
        if often or draw.random() < 0.5:
            bank = draw.choice((often, 0.15, 0.4))
            faults.rates = {"redis": often, "mongo": often, "bank": bank}
        if draw.random() < 0.7:
            faults.focus = draw.choice(CALLS), draw.choice(KINDS), draw.choice((0.3, 0.9))
        faults.prompt = draw.choice((0.3, 0.6, 0.9))
        for store in ("redis", "mongo", "bank"):
            if draw.random() < 0.15:
                begin = world.now + draw.uniform(0, 40)
                faults.away[store] = begin, begin + draw.uniform(0.5, 30)
        self._lasts = draw.uniform(15, 50)
        self._redis_losses()
        world.house = draw.random() < 0.15
        soon = draw.random() < 0.1
        world.plan(draw.choice((5.0, 15.0, 45.0)), draw.uniform(10, 60) if soon else 86_400)
        for _ in range(draw.choice((1, 2, 2, 3))):
            world.begin()

    def _redis_losses(self) -> None:
        world, draw = self._world, self._draw
        if draw.random() < 0.3:
            for _ in range(draw.randint(1, 2)):
                self._some_time(self._wipe)
        if draw.random() < 0.3:
            world.watching = draw.random() < 0.5
            world.remembers = True
            self._some_time(self._fail_over)

    def _some_time(self, happen: Callable[[], None]) -> None:
        """At some moment, or when a certain call is made for a certain time."""
        if self._draw.random() < 0.5:
            self._world.at(self._draw.uniform(2, self._lasts), happen)
        else:
            call, count = self._draw.choice(CRITICAL), self._draw.choice((1, 1, 2, 2, 3, 4))
            after = happen == self._fail_over or self._draw.random() < 0.5
            self._world.faults.triggers[call] = count, after, happen

    def _wipe(self) -> None:
        """Redis starts anew without its data."""
        if self._loses("wipe"):
            self._world.seats.wipe()

    def _fail_over(self) -> None:
        """The primary dies; a replica that is a little behind takes over a moment later."""
        world, draw = self._world, self._draw
        if self._loses("failover"):
            world.seats.restore(draw.choice(world.remembered))
            world.faults.away["redis"] = world.now, world.now + draw.uniform(0.01, 3)

    def _loses(self, how: str) -> bool:
        """Say whether it is time for that; what only Redis knows goes, and what is on its way."""
        world = self._world
        if world.faults_on:
            world.note("world", how)
            world.faults.struck[how] += 1
            world.faults.runs["redis"] += 1
            self._oracle.lost |= self._oracle.redis_forgets()
        return world.faults_on

    async def _trouble(self) -> None:
        """People act, everything fails; then nobody acts any more and nothing fails."""
        world, draw, oracle = self._world, self._draw, self._oracle
        habits = [draw.choice((0, 1, 1, 4)) for _ in ACTS]
        buyers = [Buyer(world, oracle, name, habits) for name in ("ann", "ben", "cat")]
        lives = [buyer.live(draw.choice((1, 2, 2, 3))) for buyer in buyers[: draw.randint(2, 3)]]
        admin = Administrator(world, oracle)
        if draw.random() < 0.4:
            lives.append(admin.live(draw.randint(1, 3)))
        if world.house:
            lives.append(admin.close_house(draw.uniform(3, self._lasts)))
        tasks = [asyncio.create_task(life) for life in lives]
        await asyncio.sleep(self._lasts)
        world.note("world", "is well again")
        world.faults_on = False
        world.faults.stop()
        for process in world.processes:
            process.asleep_until = min(process.asleep_until, world.now)
        await asyncio.gather(*tasks)

    async def _rest(self) -> None:
        """Let the background work go on until nothing is due."""
        world, verdict, began = self._world, self._verdict, self._world.now
        for _ in range(ROUNDS):
            process = world.living[0] if world.living else world.begin()
            if not verdict.loaded():
                await process.quietly("rebuild", partial(process.rebuilder.rebuild, SHOWTIME))
            for name in process.jobs:
                await process.job(name)
            if not verdict.unsettled():
                return
            verdict.overdue(began)
            moments = [verdict.next_deadline(), world.loop.next_event()]
            due = min((each for each in moments if each), default=0.0)
            await asyncio.sleep(max(1.0, due - world.now + 0.01))

    async def _look(self) -> None:
        """Let those who watch the map see that nothing more will come."""
        watching = [process for process in self._world.living if process.channel]
        for process in watching:
            await process.job("tail")
        if watching:
            await asyncio.sleep(60)


def run_many(first: int, last: int) -> tuple[list[Outcome], Counter[str]]:
    """Run seeds from `first` on, up to `last`; returns the broken ones, and what struck in all."""
    broken, counts = [], Counter[str]()
    gc.freeze()  # what is there now will not go; a seed leaves little behind
    with staged() as clock:
        for seed in range(first, last):
            outcome = run(clock, seed)
            counts.update(outcome.counts)
            if outcome.violations:
                broken.append(outcome)
    return broken, counts


def story(seed: int) -> str:
    """Run one seed again and tell what happened."""
    with staged() as clock:
        outcome = run(clock, seed, trace=True)
    verdict = outcome.violations or ["nothing is broken"]
    return "\n".join([*outcome.trace, f"seed {seed}:", *verdict])


def main(args: list[str]) -> int:
    if len(args) == 1:
        print(story(int(args[0])))
        return 0
    broken, counts = run_many(int(args[0]), int(args[1]))
    for outcome in broken:
        print(f"seed {outcome.seed}: {outcome.violations}")
    print(f"{len(broken)} seeds are broken; {dict(sorted(counts.items()))}")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
