"""What is on, where and in which room: the values that every other room reads.

A layout is a drawing that never changes: a new drawing is a new layout with a new id. A showtime
keeps the layout it was planned with, so that a rebuilt auditorium moves nobody's seat.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import Any, Literal
from zoneinfo import ZoneInfo

from server.models import Money

SEAT_ID = re.compile(r"[A-Za-z0-9_-]{1,16}")
CATEGORY = re.compile(r"[a-z][a-z0-9_-]{0,31}")

ShowtimeStatus = Literal["open", "closed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Seat:
    """One seat. `x` is its column in seat widths, halves allowed; a gap in `x` is an aisle."""

    id: str
    x: float
    category: str = "standard"
    accessible: bool = False

    def __post_init__(self) -> None:
        if not SEAT_ID.fullmatch(self.id):
            raise ValueError(f"seat {self.id!r}: not a seat id")
        if not CATEGORY.fullmatch(self.category):
            raise ValueError(f"seat {self.id}: {self.category!r} is not a category name")
        if not (math.isfinite(self.x) and self.x >= 0):
            raise ValueError(f"seat {self.id}: x must be 0 or more, not {self.x}")

    def as_json(self) -> dict[str, Any]:
        x = int(self.x) if self.x == int(self.x) else self.x  # 3 and 3.0 are one drawing
        return {"id": self.id, "x": x, "category": self.category, "accessible": self.accessible}


@dataclass(frozen=True, slots=True)
class Row:
    label: str
    seats: tuple[Seat, ...]

    def __post_init__(self) -> None:
        if not self.seats:
            raise ValueError(f"row {self.label!r} has no seats")


@dataclass(frozen=True)
class Layout:
    """The drawing of an auditorium, front row first; raises ValueError when it is no drawing.

    Everything derived is worked out once: a layout is kept for ever and read at every request.
    """

    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        if not self.rows:
            raise ValueError("a layout needs at least one seat")
        if len(self.index) != len(self.seats):
            repeated = next(s for n, s in enumerate(self.seat_ids) if self.index[s] != n)
            raise ValueError(f"seat {repeated} is drawn twice")

    @cached_property
    def id(self) -> str:
        """The hash of the drawing: equal drawings are one layout."""
        drawing = json.dumps(self.as_json(), sort_keys=True, separators=(",", ":"))
        return f"lay_{hashlib.sha256(drawing.encode()).hexdigest()[:32]}"

    @cached_property
    def seats(self) -> tuple[Seat, ...]:
        """All seats in layout order: row by row, each as drawn."""
        return tuple(seat for row in self.rows for seat in row.seats)

    @cached_property
    def seat_ids(self) -> tuple[str, ...]:
        """The seat ids in layout order, the order of `states` in a seat map."""
        return tuple(seat.id for seat in self.seats)

    @cached_property
    def index(self) -> dict[str, int]:
        """Seat id -> its position in layout order."""
        return {seat: position for position, seat in enumerate(self.seat_ids)}

    @cached_property
    def categories(self) -> frozenset[str]:
        return frozenset(seat.category for seat in self.seats)

    def category(self, seat: str) -> str:
        """Return the category of a seat; raises KeyError when it is not in the drawing."""
        return self.seats[self.index[seat]].category

    def as_json(self) -> dict[str, Any]:
        return {
            "rows": [
                {"label": row.label, "seats": [seat.as_json() for seat in row.seats]}
                for row in self.rows
            ]
        }

    @classmethod
    def from_json(cls, drawing: Mapping[str, Any]) -> "Layout":
        """Build from what `as_json` gives."""
        return cls(
            tuple(
                Row(row["label"], tuple(Seat(**seat) for seat in row["seats"]))
                for row in drawing["rows"]
            )
        )


@dataclass(frozen=True, slots=True)
class Movie:
    id: str
    title: str
    synopsis: str
    genres: tuple[str, ...]
    duration_min: int
    rating: str
    """From what age on, as shown to people: "12+"."""
    release_date: date
    accent: str
    """CSS colour (#rrggbb) of the poster that the page draws."""
    director: str = ""
    cast: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Auditorium:
    id: str
    name: str
    layout_id: str


@dataclass(frozen=True, slots=True)
class Cinema:
    id: str
    name: str
    city: str
    address: str
    time_zone: str
    """IANA name; showtimes are planned and searched by the clock on this cinema's wall."""
    auditoriums: tuple[Auditorium, ...]

    def local(self, day: date, clock: time) -> datetime:
        """Return the moment (UTC) when the clock on the wall shows `clock` on `day`.

        A time that the autumn change repeats means its first pass, one that the spring change
        skips counts on from the old offset (PEP 495, fold 0): a day that loses its midnight
        begins with the change.
        """
        return datetime.combine(day, clock, ZoneInfo(self.time_zone)).astimezone(UTC)

    def local_day(self, day: date) -> tuple[datetime, datetime]:
        """Return when a local date begins and ends (exclusive); 23 to 25 hours apart."""
        return self.local(day, time.min), self.local(day + timedelta(days=1), time.min)


@dataclass(frozen=True, slots=True)
class Showtime:
    """One showing of a movie, with all that is needed to sell it; raises ValueError when some
    of it does not fit together."""

    id: str
    movie: Movie
    cinema: Cinema
    auditorium: Auditorium
    layout: Layout
    starts_at: datetime
    ends_at: datetime
    prices: Mapping[str, Money]
    """By seat category; one currency."""
    status: ShowtimeStatus = "open"
    blocked: frozenset[str] = frozenset()
    """Seats that are not for sale."""

    def __post_init__(self) -> None:
        if self.ends_at <= self.starts_at:
            raise ValueError(f"showtime {self.id} ends before it starts")
        if unpriced := self.layout.categories - self.prices.keys():
            raise ValueError(f"showtime {self.id} has no price for {', '.join(sorted(unpriced))}")
        if len({price.currency for price in self.prices.values()}) != 1:
            raise ValueError(f"showtime {self.id} mixes currencies")
        if unknown := self.blocked - self.layout.index.keys():
            raise ValueError(f"showtime {self.id} blocks unknown seats {sorted(unknown)}")

    @property
    def closes_at(self) -> datetime:
        """When sales end."""
        return self.starts_at

    def price_of(self, seats: Iterable[str]) -> Money:
        """Return the sum of the prices; raises KeyError for a seat that is not in the layout."""
        prices = [self.prices[self.layout.category(seat)] for seat in seats]
        currency = next(iter(self.prices.values())).currency
        return Money(currency=currency, minor=sum(price.minor for price in prices))
