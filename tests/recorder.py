"""Hears every change set of one showtime as Redis announces it."""

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from server.repo.keys import showtime_keys

RECORDER = "recorder"
"""What a recorder's connections are called in Redis' list of clients."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One announcement; `at` is Redis' time of the change, `heard_at` ours, both in ms."""

    epoch: str
    seq: int
    at: int
    events: list[dict[str, Any]]
    heard_at: float


class Recorder:
    """`heard` holds what was announced to `showtimes`, in order of arrival."""

    def __init__(self, redis_url: str, *showtimes: str) -> None:
        self.heard: list[Heard] = []
        self._redis: Redis = Redis.from_url(redis_url, protocol=2, client_name=RECORDER)
        self._channels = [showtime_keys(showtime)["channel"] for showtime in showtimes]
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Recorder":
        pubsub = self._redis.pubsub()
        await pubsub.ssubscribe(*self._channels)
        for _ in self._channels:
            confirmed = await pubsub.get_message(timeout=5)
            assert confirmed
            assert confirmed["type"] == "ssubscribe"
        self._task = asyncio.create_task(self._listen(pubsub), name="recorder")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._redis.aclose()

    async def _listen(self, pubsub: Any) -> None:
        async with contextlib.aclosing(pubsub):
            while True:
                message = await pubsub.get_message(timeout=None)
                if message and message["type"] == "smessage":
                    change = json.loads(message["data"])
                    self.heard.append(Heard(**change, heard_at=time.time() * 1000))
