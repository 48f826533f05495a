"""The seat store: who has locked which seat right now.

Every change is atomic, numbered (`seq` within `epoch`), announced in the same step. Methods raise
the refusals of `server.errors`, StoreUnavailable when Redis does not answer, and ShowtimeNotLoaded
when it knows nothing of the showtime (never loaded, or lost); then nothing was changed.
"""

import secrets
from collections.abc import Iterable, Sequence
from typing import Any

from server.errors import StoreUnavailable
from server.models import new_id
from server.repo.keys import operation_key, partition_keys, showtime_keys
from server.repo.redis import Redis, Scripts, answers
from server.repo.seat_answers import (
    MAX_EXTENSIONS,
    PUBLIC_STATE,
    Lock,
    SeatStates,
    StoredPosition,
    one_lock,
    read_lock,
    refuse,
)
from server.repo.seat_journal import SeatJournal
from server.repo.seat_log import Logged


class SeatStore:
    def __init__(
        self,
        redis: Redis,
        scripts: Scripts,
        *,
        ttl_seconds: float,
        max_seats_per_user: int,
        max_seats_per_address: int = 0,
        journal: SeatJournal | None = None,
    ) -> None:
        """What people do goes into `journal` before a method returns; None: only into Redis.

        `max_seats_per_address` is for all who lock from one address. 0: nothing is done against
        those who hold seats and buy none.
        """
        self._redis = redis
        self._scripts = scripts
        self._ttl_ms = round(ttl_seconds * 1000)
        self._max_seats = max_seats_per_user
        self._max_at_address = max_seats_per_address
        self._journal = journal

    async def lock(
        self,
        showtime_id: str,
        user_id: str,
        seats: Sequence[str],
        request_id: str,
        actor_id: str = "",
        address: str = "",
    ) -> Lock:
        """Lock all of `seats`, or none; they join the lock that the user has.

        `actor_id` is who does it, when it is not the user; `address` is where that comes from.
        Raises SeatsUnavailable, SeatLimitReached, RateLimited, ShowtimeClosed.
        """
        reply = await self._run(
            "lock_seats",
            showtime_id,
            seats,
            showtime=showtime_id,
            user=user_id,
            actor=actor_id or user_id,
            lock_id=new_id("lock"),
            ttl_ms=self._ttl_ms,
            max_seats=self._max_seats,
            patience_ms=self._ttl_ms if self._max_at_address else 0,
            address=address if self._max_at_address else "",
            max_at_address=self._max_at_address,
            request_id=request_id,
        )
        await self._record(reply[0])
        return one_lock(showtime_id, user_id, reply)

    async def extend(self, showtime_id: str, user_id: str, request_id: str) -> Lock:
        """Give the lock a fresh TTL. Raises LockExpired, ExtensionLimitReached, ShowtimeClosed."""
        reply = await self._run(
            "extend_lock",
            showtime_id,
            showtime=showtime_id,
            user=user_id,
            ttl_ms=self._ttl_ms,
            max_extensions=MAX_EXTENSIONS,
            operation=secrets.token_hex(8),
            request_id=request_id,
        )
        await self._record(reply[0])
        return one_lock(showtime_id, user_id, reply)

    async def release(
        self, showtime_id: str, user_id: str, seats: Sequence[str], request_id: str
    ) -> tuple[list[str], Lock | None]:
        """Take `seats` (none named: all) out of the user's lock; returns those and what is left."""
        word, reply = await self._scripts.run(
            "release_seats",
            {
                **showtime_keys(showtime_id),
                "operation_key": operation_key(showtime_id, secrets.token_hex(8)),
            },
            seats,
            showtime=showtime_id,
            user=user_id,
            request_id=request_id,
        )
        if word != "ok":
            refuse(word, reply)
        await self._record(reply[1])
        released = reply[0].split(",") if reply[0] else []
        return released, read_lock(showtime_id, user_id, reply[1:])

    async def revoke(
        self, showtime_id: str, actor_id: str, seats: Sequence[str], request_id: str
    ) -> list[str]:
        """Take `seats` out of whosever locks; returns those that were locked."""
        logged, *revoked = await self._run(
            "revoke_seats",
            showtime_id,
            seats,
            showtime=showtime_id,
            actor=actor_id,
            request_id=request_id,
        )
        await self._record(logged)
        return revoked

    async def close(self, showtime_id: str) -> None:
        """End the sale for good; what is locked or booked stays."""
        await self._run("close_showtime", showtime_id)

    async def block(
        self, showtime_id: str, actor_id: str, seats: Sequence[str], request_id: str
    ) -> list[str]:
        """Take those of `seats` that are free off sale; returns them."""
        return await self._run(
            "block_seats",
            showtime_id,
            seats,
            showtime=showtime_id,
            actor=actor_id,
            request_id=request_id,
        )

    async def lock_of(self, showtime_id: str, user_id: str) -> Lock | None:
        """Return the user's live lock."""
        reply = await self._run("read_lock", showtime_id, user=user_id)
        return read_lock(showtime_id, user_id, reply)

    async def locks(self, showtime_id: str) -> list[Lock]:
        """Return every live lock of a showtime."""
        now, *rows = await self._run("read_locks", showtime_id)
        return [one_lock(showtime_id, row[0], [[], now, *row[1:]]) for row in rows]

    async def due_locks(self, partition: int, limit: int) -> list[tuple[str, str]]:
        """Return (showtime, user) of locks past their deadline, oldest first."""
        queue = {"queue_key": partition_keys(partition)["deadlines_key"]}
        _, members = await self._scripts.run("read_due", queue, limit=limit)
        return [(showtime, user) for showtime, _, user in (m.partition(":") for m in members)]

    async def expire(self, showtime_id: str, user_id: str) -> bool:
        """Release that lock if it is past its deadline; says whether it was."""
        word, _ = await self._scripts.run(
            "expire_lock", showtime_keys(showtime_id), showtime=showtime_id, user=user_id
        )
        return word == "ok"

    async def read(self, showtime_id: str, epoch: str = "", seq: int = -1) -> SeatStates | None:
        """Return the state of every seat; None while (epoch, seq) is still the position."""
        word, reply = await self._scripts.run(
            "read_seats", showtime_keys(showtime_id), epoch=epoch, seq=seq
        )
        if word == "same":
            return None
        if word != "ok":
            refuse(word, reply)
        now, current, number, flat = reply
        pairs = zip(flat[::2], flat[1::2], strict=True)
        taken = {seat: PUBLIC_STATE[state[0]] for seat, state in pairs}
        return SeatStates(current, int(number), int(now), taken)

    async def positions(self, showtime_ids: Iterable[str]) -> list[StoredPosition]:
        """Return where each showtime is; one round trip to each server that has any."""
        pipeline = self._redis.pipeline(transaction=False)
        for showtime_id in showtime_ids:
            pipeline.hmget(showtime_keys(showtime_id)["meta_key"], ["epoch", "seq"])
        return [_position(row) for row in await answers(pipeline)]

    async def _record(self, logged: Sequence[Logged]) -> None:
        """Have the journal keep what a script has logged."""
        if logged and self._journal:
            await self._journal.write(logged)

    async def _run(
        self, script: str, showtime_id: str, rest: Sequence[str] = (), **args: str | int
    ) -> list[Any]:
        word, reply = await self._scripts.run(script, showtime_keys(showtime_id), rest, **args)
        return reply if word == "ok" else refuse(word, reply)


def _position(row: list[str | None] | StoreUnavailable) -> StoredPosition:
    if isinstance(row, StoreUnavailable):
        return row
    epoch, seq = row
    return (epoch, int(seq)) if epoch and seq else None
