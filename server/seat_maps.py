"""The seat map: a showtime's drawing with the state of every seat."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from server.catalogue import Layout, Showtime
from server.events import AVAILABLE
from server.rebuild import Rebuilder
from server.repo.seat_answers import SeatStates
from server.repo.seats import SeatStore
from server.showtimes import Showtimes

_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class SeatMap:
    showtime: Showtime
    epoch: str
    seq: int
    states: str
    """One character per seat, in layout order."""


def draw(layout: Layout, taken: Mapping[str, str]) -> str:
    """Return one character per seat in layout order; seats not in `taken` are available."""
    return "".join(taken.get(seat, AVAILABLE) for seat in layout.seat_ids)


class SeatMaps:
    def __init__(self, store: SeatStore, showtimes: Showtimes, rebuilder: Rebuilder) -> None:
        self._store = store
        self._showtimes = showtimes
        self._rebuilder = rebuilder
        self._recent: OrderedDict[str, SeatMap] = OrderedDict()

    async def get(self, showtime_id: str) -> SeatMap:
        """Return the map as Redis has it now; the drawing is made again only when it changed.

        Raises NotFound, StoreUnavailable.
        """
        showtime = await self._showtimes.get(showtime_id)
        known = self._recent.get(showtime_id)
        states = await self._rebuilder.loaded(
            showtime_id,
            lambda: (
                self._store.read(showtime_id, known.epoch, known.seq)
                if known
                else self._store.read(showtime_id)
            ),
        )
        if states is None and known is not None:
            return SeatMap(showtime, known.epoch, known.seq, known.states)
        assert states is not None  # the store says "unchanged" only to those who know a position
        drawn = SeatMap(showtime, states.epoch, states.seq, draw(showtime.layout, states.taken))
        self._remember(drawn)
        return drawn

    async def states(self, showtime_id: str) -> tuple[Layout, SeatStates]:
        """Return the drawing and the states, straight from Redis."""
        showtime = await self._showtimes.get(showtime_id)
        states = await self._rebuilder.loaded(showtime_id, lambda: self._store.read(showtime_id))
        assert states is not None
        return showtime.layout, states

    def _remember(self, drawn: SeatMap) -> None:
        self._recent[drawn.showtime.id] = drawn
        self._recent.move_to_end(drawn.showtime.id)
        if len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)
