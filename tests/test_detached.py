"""Work that outlives whoever asked for it."""

import asyncio

import pytest

from server.detached import Detached, end
from server.repo.redis import connect


async def test_the_caller_gets_what_the_work_gives():
    async def work():
        return 42

    async def fails():
        raise LookupError("not here")

    detached = Detached()
    assert await detached.run(work()) == 42
    with pytest.raises(LookupError, match="not here"):
        await detached.run(fails())


@pytest.mark.parametrize("failure", [None, LookupError()])
async def test_work_goes_on_when_the_caller_is_gone(failure):
    detached, half_way, may_end, done = Detached(), asyncio.Event(), asyncio.Event(), []

    async def work():
        half_way.set()
        await may_end.wait()
        done.append(True)
        if failure:
            raise failure

    caller = asyncio.create_task(detached.run(work()))
    await half_way.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert not done
    may_end.set()
    await detached.drain(1)
    assert done


async def test_the_end_is_waited_for_but_not_for_ever():
    detached, may_end = Detached(), asyncio.Event()
    caller = asyncio.create_task(detached.run(may_end.wait()))
    await asyncio.sleep(0)
    await asyncio.wait_for(detached.drain(0.01), 1)
    assert not caller.done()
    may_end.set()
    await detached.drain(1)
    assert await caller
    await detached.drain(1)


async def test_a_loop_over_redis_ends_although_a_command_swallows_a_cancellation(valkey_url):
    redis = connect(valkey_url)

    async def ping():
        while True:
            await redis.ping()

    loops = [asyncio.create_task(ping()) for _ in range(5)]
    await asyncio.sleep(0.05)
    async with asyncio.timeout(5):
        await end(*loops)
    assert all(loop.cancelled() for loop in loops)
    await redis.aclose()
