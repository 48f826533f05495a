"""GET /api/movies and /api/movies/{id}: public."""

from datetime import date
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server.api.pages import Cursor, PageQuery, page
from server.api.requests import path_id, query
from server.catalogue import Movie
from server.models import Id
from server.movies import Movies

Ordinal = Annotated[int, Field(ge=1, le=date.max.toordinal())]


class MovieQuery(PageQuery):
    cursor: Annotated[tuple[Ordinal, Id], Cursor] | None = None


class MovieRoutes:
    def __init__(self, movies: Movies) -> None:
        self._movies = movies

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/api/movies", self.list_movies, methods=["GET"]),
            Route("/api/movies/{id}", self.show_movie, methods=["GET"]),
        ]

    async def list_movies(self, request: Request) -> Response:
        """Newest release first."""
        asked = query(request, MovieQuery)
        after = (date.fromordinal(asked.cursor[0]), asked.cursor[1]) if asked.cursor else None
        found = await self._movies.find(asked.limit + 1, after)
        return page(found, asked.limit, movie_json, lambda m: (m.release_date.toordinal(), m.id))

    async def show_movie(self, request: Request) -> Response:
        movie = await self._movies.get(path_id(request, "id"))
        return JSONResponse({"movie": movie_json(movie)})


def movie_json(movie: Movie) -> dict[str, Any]:
    return {
        "id": movie.id,
        "title": movie.title,
        "synopsis": movie.synopsis,
        "genres": movie.genres,
        "duration_min": movie.duration_min,
        "rating": movie.rating,
        "release_date": movie.release_date.isoformat(),
        "accent": movie.accent,
        "director": movie.director,
        "cast": movie.cast,
    }
