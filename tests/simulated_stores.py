"""What a process of a simulation has in place of parts that would talk to Redis past the scripts,
or that would cost time and change nothing.
"""

from dataclasses import replace
from typing import Any

from server.catalogue import Showtime
from server.repo.claims import ClaimStore
from server.repo.keys import PARTITIONS
from server.repo.showtimes import ShowtimeRepo
from tests.model_scripts import whole
from tests.seat_model import ModelSeats
from tests.simulated_faults import Line
from tests.simulated_world import World


class OneShowtime(ShowtimeRepo):
    """The real repository, but a showtime is put together once and not at every reading."""

    def __init__(self, world: World, database: Any) -> None:
        super().__init__(database, None)  # type: ignore[arg-type]
        self._world = world

    async def get(self, showtime_id: str) -> Showtime | None:
        row = await self._rows.find_one({"_id": showtime_id})
        return replace(self._world.showtime, status=row["status"]) if row else None


class LinedClaims(ClaimStore):
    """The real store, but what it reads without a script it reads from the model."""

    def __init__(self, scripts: Any, world: World, line: Line) -> None:
        super().__init__(scripts)
        self._world = world
        self._line = line

    async def shown(self, showtime_id: str) -> dict[str, tuple[str, bool]]:
        claims = self._world.seats.claims
        shown: dict[str, tuple[str, bool]] = await self._line.call(
            "shown", lambda: whole(claims.shown(showtime_id))
        )
        return shown

    async def run_ids(self) -> list[str]:
        runs = self._world.faults.runs
        run: str = await self._line.call("run_ids", lambda: f"run_{runs['redis']}")
        return [run] * len(PARTITIONS)


class LinedSeatLog:
    """The model's log, behind a line."""

    def __init__(self, seats: ModelSeats, call: Any) -> None:
        self._log = seats.log
        self._call = call

    async def read(self, partition: int, limit: int) -> Any:
        return await self._call("read_log", lambda: whole(self._log.read(partition, limit)))

    async def forget(self, partition: int, positions: list[str]) -> None:
        if positions:
            await self._call("forget_log", lambda: whole(self._log.forget(partition, positions)))


class Uncounted:
    """In place of the metrics, which nobody reads here."""

    def __getattr__(self, name: str) -> "Uncounted":
        return self

    def labels(self, *names: str) -> "Uncounted":
        return self

    def inc(self) -> None:
        pass
