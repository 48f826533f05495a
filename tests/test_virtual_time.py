"""The loop that simulations run on: asyncio works on it, its order follows from a seed, and a
process can vanish or sleep."""

import asyncio
from random import Random

import pytest

from tests.virtual_time import Owner, Stuck, VirtualLoop


def loop(seed: int = 0) -> VirtualLoop:
    return VirtualLoop(Random(seed), start=1000.0)


def test_time_leaps_to_the_next_timer() -> None:
    async def main() -> tuple[float, float]:
        running = asyncio.get_running_loop()
        before = running.time()
        await asyncio.sleep(86_400)
        return before, running.time()

    assert loop().run(main()) == (1000.0, 87_400.0)


def test_what_asyncio_offers_works_on_it() -> None:
    async def main() -> list[str]:
        seen: list[str] = []
        turn, door = asyncio.Semaphore(1), asyncio.Event()

        async def enter(name: str) -> None:
            async with turn:
                await asyncio.sleep(1)
                seen.append(name)

        async with asyncio.TaskGroup() as group:
            for name in ("a", "b", "c"):
                group.create_task(enter(name))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await door.wait()
        inner = asyncio.create_task(enter("shielded"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await asyncio.shield(inner)
        await inner
        await asyncio.gather(enter("d"), enter("e"))
        done, pending = await asyncio.wait({asyncio.create_task(door.wait())}, timeout=1)
        assert (len(done), len(pending)) == (0, 1)
        return seen

    seen = loop().run(main())
    assert sorted(seen[:3]) == ["a", "b", "c"]
    assert (seen[3], sorted(seen[4:])) == ("shielded", ["d", "e"])


def order_of(seed: int) -> str:
    async def main() -> str:
        seen: list[str] = []

        async def speak(name: str) -> None:
            for _ in range(3):
                await asyncio.sleep(0)
                seen.append(name)

        await asyncio.gather(*(speak(name) for name in "abc"))
        return "".join(seen)

    return loop(seed).run(main())


def test_the_order_follows_from_the_seed() -> None:
    orders = [order_of(seed) for seed in range(50)]
    assert orders == [order_of(seed) for seed in range(50)]
    assert len(set(orders)) > 20


def test_what_belongs_to_the_dead_never_goes_on() -> None:
    here, process, seen = loop(), Owner("p1"), []

    async def work() -> None:
        try:
            await asyncio.create_task(asyncio.sleep(1))
            seen.append("woke up")
        finally:
            seen.append("cleaned up")

    async def main() -> None:
        here.spawn(process, work())
        await asyncio.sleep(0.5)
        process.alive = False
        await asyncio.sleep(10)

    here.run(main())
    assert seen == [], "a process that is killed cleans nothing up"
    here.dismiss()
    assert seen == ["cleaned up"], "but when all is over its coroutines are closed in order"


def test_what_belongs_to_a_sleeper_waits() -> None:
    here, process, seen = loop(), Owner("p1"), []

    async def work() -> None:
        while True:
            await asyncio.sleep(1)
            seen.append(here.time() - 1000)

    async def main() -> None:
        here.spawn(process, work())
        await asyncio.sleep(2.5)
        process.asleep_until = here.time() + 10
        await asyncio.sleep(12)

    here.run(main())
    here.dismiss()
    assert seen == [1, 2, 12.5, 13.5, 14.5][: len(seen)]
    assert len(seen) >= 4


def test_waiting_for_what_never_comes_is_an_error() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    here = loop()
    with pytest.raises(Stuck):
        here.run(main())
    here.dismiss()
