"""Collection `movies`."""

from datetime import date

from server.catalogue import Movie
from server.repo.mongo import DESCENDING, Database, Document, insert_missing


class MovieRepo:
    def __init__(self, database: Database) -> None:
        self._rows = database["movies"]

    async def get(self, movie_id: str) -> Movie | None:
        row = await self._rows.find_one({"_id": movie_id})
        return movie_of(row) if row else None

    async def find(self, limit: int, after: tuple[date, str] | None) -> list[Movie]:
        """Return up to `limit` movies, newest release first, from behind `after` on."""
        match: Document = {}
        if after:
            day, last = after[0].isoformat(), after[1]
            match = {
                "release_date": {"$lte": day},
                "$or": [{"release_date": {"$lt": day}}, {"_id": {"$lt": last}}],
            }
        found = self._rows.find(match).sort([("release_date", DESCENDING), ("_id", DESCENDING)])
        return [movie_of(row) for row in await found.limit(limit).to_list(limit)]

    async def add_missing(self, movies: list[Movie]) -> int:
        """Store those whose id is new; return how many."""
        return await insert_missing(self._rows, [_row_of(movie) for movie in movies])


def movie_of(row: Document) -> Movie:
    return Movie(
        id=row["_id"],
        title=row["title"],
        synopsis=row["synopsis"],
        genres=tuple(row["genres"]),
        duration_min=row["duration_min"],
        rating=row["rating"],
        release_date=date.fromisoformat(row["release_date"]),
        accent=row["accent"],
        director=row["director"],
        cast=tuple(row["cast"]),
    )


def _row_of(movie: Movie) -> Document:
    return {
        "_id": movie.id,
        "title": movie.title,
        "synopsis": movie.synopsis,
        "genres": list(movie.genres),
        "duration_min": movie.duration_min,
        "rating": movie.rating,
        "release_date": movie.release_date.isoformat(),  # text of this form sorts as dates do
        "accent": movie.accent,
        "director": movie.director,
        "cast": list(movie.cast),
    }
