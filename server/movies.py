"""The movies that are or were on."""

from datetime import date

from server.catalogue import Movie
from server.errors import NotFound
from server.repo.movies import MovieRepo


class Movies:
    def __init__(self, movies: MovieRepo) -> None:
        self._movies = movies

    async def get(self, movie_id: str) -> Movie:
        """Return a movie; raises NotFound."""
        movie = await self._movies.get(movie_id)
        if movie is None:
            raise NotFound
        return movie

    async def find(self, limit: int, after: tuple[date, str] | None = None) -> list[Movie]:
        """Return up to `limit` movies, newest release first.

        `after` is the (release date, id) of the last movie that the caller has seen.
        """
        return await self._movies.find(limit, after)
