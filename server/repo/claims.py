"""The seat store's other half: seats that belong to bookings, and rebuilding from MongoDB.

MongoDB's booking is the truth about a claim; what stands here is its image on the map. Same errors
as `server.repo.seats`, and SeatsTaken where the image of another booking is in the way.
"""

import json
import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from server.models import to_ms
from server.repo.keys import PARTITIONS, ended_key, partition_keys, showtime_keys
from server.repo.redis import Scripts, answer, run_ids
from server.repo.seat_answers import Claim, ShowtimeNotLoaded, refuse

_REBUILD_LEASE_MS = 10_000


class ClaimStore:
    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def begin_checkout(
        self, showtime_id: str, user_id: str, booking_id: str, seats: Sequence[str]
    ) -> tuple[int, int] | None:
        """Hand seats from the user's lock to a booking; returns the deadline they keep, and now.

        None when they are not all in the user's live lock. Raises ShowtimeClosed.
        """
        word, reply = await self._scripts.run(
            "begin_checkout",
            _keys(showtime_id, booking_id),
            seats,
            showtime=showtime_id,
            user=user_id,
            booking=booking_id,
        )
        if word == "unlocked":
            return None
        if word != "ok":
            refuse(word, reply)
        deadline, now = reply
        return int(deadline), int(now)

    async def claim(self, showtime_id: str, claim: Claim, request_id: str = "") -> None:
        """Make the map show that a booking owns its seats, claimed or booked.

        A seat in somebody's lock goes to the booking, unless `release` came first: what the caller
        knows is out of date then, and nothing changes. Raises SeatsTaken.
        """
        args: dict[str, str] = {
            "showtime": showtime_id,
            "user": claim.user_id,
            "booking": claim.booking_id,
            "request_id": request_id,
        }
        if claim.booked:
            await self._run("book_seats", showtime_id, claim.seats, **args)
        else:
            await self._run(
                "claim_seats", showtime_id, claim.seats, deadline=claim.expires_at, **args
            )

    async def release(
        self,
        showtime_id: str,
        booking_id: str,
        seats: Sequence[str],
        *,
        reason: str,
        actor_id: str = "",
        request_id: str = "",
    ) -> list[str]:
        """Free the seats that still carry this booking's id; returns them.

        None named: those of its checkout, for a booking that never came to be.
        """
        return await self._run(
            "release_booking",
            showtime_id,
            seats,
            showtime=showtime_id,
            booking=booking_id,
            reason=reason,
            actor=actor_id,
            request_id=request_id,
        )

    async def give_back(
        self,
        showtime_id: str,
        booking_id: str,
        seats: Sequence[str],
        *,
        actor_id: str = "",
        request_id: str = "",
    ) -> list[str]:
        """Free some seats of a booking that keeps others; returns those that carried its id."""
        return await self._run(
            "return_seats",
            showtime_id,
            seats,
            showtime=showtime_id,
            booking=booking_id,
            reason="cancelled",
            actor=actor_id,
            request_id=request_id,
        )

    async def due_checkouts(self, partition: int, limit: int) -> list[tuple[str, str]]:
        """Return (showtime, booking) of checkouts past their deadline, oldest first."""
        queue = {"queue_key": partition_keys(partition)["checkouts_key"]}
        _, members = await self._scripts.run("read_due", queue, limit=limit)
        return [(showtime, booking) for showtime, _, booking in (m.partition(":") for m in members)]

    async def shown(self, showtime_id: str) -> dict[str, tuple[str, bool]]:
        """Return seat -> (booking, booked?) of every seat that Redis gives to a booking."""
        keys = showtime_keys(showtime_id)
        pipeline = self._scripts.redis.pipeline(transaction=True)
        pipeline.hget(keys["meta_key"], "epoch")
        pipeline.hgetall(keys["seats_key"])
        epoch, states = await answer(pipeline.execute())
        if epoch is None:
            raise ShowtimeNotLoaded
        return {
            seat: (state[2:], state[0] == "b") for seat, state in states.items() if state[0] in "bc"
        }

    async def run_ids(self) -> list[str]:
        """Return, for each partition, the id of its server's run: another one after a restart, a
        failover, or a move to another server."""
        keys = [partition_keys(partition)["log_key"] for partition in PARTITIONS]
        return await run_ids(self._scripts.redis, keys)

    async def renew_epoch(self, showtime_id: str) -> None:
        """Let the numbers begin anew, under a new epoch; seats and locks stay as they are."""
        word, reply = await self._scripts.run(
            "renew_epoch",
            showtime_keys(showtime_id),
            showtime=showtime_id,
            epoch=secrets.token_hex(8),
        )
        if word != "ok":
            refuse(word, reply)

    async def begin_rebuild(self, showtime_id: str, token: str, stale_epoch: str) -> str:
        """Ask for the sole right to rebuild, in the name of `token`.

        "ok": it is yours for ten seconds; "busy": another has it; "loaded": nothing to do, the
        epoch is neither missing nor `stale_epoch`.
        """
        word, _ = await self._scripts.run(
            "begin_rebuild",
            showtime_keys(showtime_id),
            token=token,
            stale_epoch=stale_epoch,
            lease_ms=_REBUILD_LEASE_MS,
        )
        return word

    async def rebuild(
        self,
        showtime_id: str,
        token: str,
        *,
        closes_at: datetime,
        blocked: Iterable[str],
        claims: Iterable[Claim],
    ) -> bool:
        """Replace what the store holds by what MongoDB says, under a new epoch.

        False when the right that `token` stands for was lost meanwhile; nothing was changed then.
        """
        projection = {"blocked": list(blocked), "bookings": [_image(claim) for claim in claims]}
        word, _ = await self._scripts.run(
            "rebuild_showtime",
            showtime_keys(showtime_id),
            showtime=showtime_id,
            token=token,
            epoch=secrets.token_hex(8),
            closes_at=to_ms(closes_at),
            projection=json.dumps(projection),
        )
        return word == "ok"

    async def _run(
        self, script: str, showtime_id: str, rest: Sequence[str], *, booking: str, **args: str | int
    ) -> list[Any]:
        keys = _keys(showtime_id, booking)
        word, reply = await self._scripts.run(script, keys, rest, booking=booking, **args)
        return reply if word == "ok" else refuse(word, reply)


def _keys(showtime_id: str, booking_id: str) -> dict[str, str]:
    return {**showtime_keys(showtime_id), "ended_key": ended_key(showtime_id, booking_id)}


def _image(claim: Claim) -> dict[str, Any]:
    return {
        "id": claim.booking_id,
        "user": claim.user_id,
        "state": "b" if claim.booked else "c",
        "deadline": claim.expires_at,
        "seats": claim.seats,
    }
