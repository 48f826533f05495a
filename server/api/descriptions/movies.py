"""The catalogue's movies."""

from typing import Annotated

from pydantic import Field

from server.api.descriptions.values import Colour, Name, Page, Shape
from server.api.movies import MovieQuery
from server.api.openapi import Answer, Operation
from server.models import Id


class Movie(Shape):
    id: Id
    title: Name
    synopsis: str
    genres: list[Annotated[str, Field(examples=["Drama"])]]
    duration_min: Annotated[int, Field(examples=[104])]
    rating: Annotated[str, Field(description="From what age on.", examples=["12+"])]
    release_date: Annotated[
        str, Field(examples=["2027-03-01"], json_schema_extra={"format": "date"})
    ]
    accent: Colour
    director: str
    cast: list[str]


class MovieAnswer(Shape):
    movie: Movie


OPERATIONS = [
    Operation(
        "GET",
        "/api/movies",
        "listMovies",
        "Every movie, newest release first",
        {200: Answer("A page of movies.", Page[Movie])},
        query=MovieQuery,
    ),
    Operation(
        "GET",
        "/api/movies/{id}",
        "showMovie",
        "One movie",
        {200: Answer("The movie.", MovieAnswer)},
    ),
]
