"""Collection `cinemas`: each with its auditoriums inside."""

from server.catalogue import Auditorium, Cinema
from server.repo.mongo import Database, Document, insert_missing

_ANY_CASE = {"locale": "en", "strength": 1}
"""Collation that compares base letters only: "zurich" finds "Zürich"."""


class CinemaRepo:
    def __init__(self, database: Database) -> None:
        self._rows = database["cinemas"]

    async def find(self, cinema_id: str | None = None, city: str | None = None) -> list[Cinema]:
        """Return the cinemas that match what is given; a city without regard to case and accents.

        Few enough to be read whole: a chain has hundreds, not millions.
        """
        wanted = {"_id": cinema_id} if cinema_id is not None else {}
        found = self._rows.find(wanted | ({"city": city} if city is not None else {}))
        if city is not None:
            found = found.collation(_ANY_CASE)
        return [cinema_of(row) async for row in found]

    async def add_missing(self, cinemas: list[Cinema]) -> int:
        """Store those whose id is new; return how many."""
        return await insert_missing(self._rows, [_row_of(cinema) for cinema in cinemas])


def cinema_of(row: Document) -> Cinema:
    return Cinema(
        id=row["_id"],
        name=row["name"],
        city=row["city"],
        address=row["address"],
        time_zone=row["time_zone"],
        auditoriums=tuple(Auditorium(**auditorium) for auditorium in row["auditoriums"]),
    )


def _row_of(cinema: Cinema) -> Document:
    return {
        "_id": cinema.id,
        "name": cinema.name,
        "city": cinema.city,
        "address": cinema.address,
        "time_zone": cinema.time_zone,
        "auditoriums": [
            {"id": auditorium.id, "name": auditorium.name, "layout_id": auditorium.layout_id}
            for auditorium in cinema.auditoriums
        ],
    }
