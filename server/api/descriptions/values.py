"""The values that many answers have in common."""

from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from server.models import Id, Role

T = TypeVar("T")


def _no_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


MAY_LACK: Any = Field(default=None, json_schema_extra=_no_default)
"""Of a member that is not always there, and never null."""


class Shape(BaseModel):
    """The shape of something that is answered: these members and no others."""

    model_config = ConfigDict(extra="forbid")


Time = Annotated[
    str,
    StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$"),
    Field(examples=["2027-03-14T19:30:00.000Z"], json_schema_extra={"format": "date-time"}),
]
Remaining = Annotated[int, Field(ge=0, description="Milliseconds.", examples=[271_500])]
Name = Annotated[str, Field(examples=["Harbour Lights"])]
Colour = Annotated[
    str, Field(description="CSS colour of the poster that the page draws.", examples=["#1f7a72"])
]


class Price(Shape):
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$"), Field(examples=["EUR"])]
    minor: Annotated[int, Field(description="In minor units: cents.", examples=[1250])]


class Page(Shape, Generic[T]):
    items: list[T]
    next_cursor: str | None


class Person(Shape):
    id: Id
    email: Annotated[str, Field(examples=["ada@example.com"])]
    name: Annotated[str, Field(examples=["Ada"])]
    role: Role


class MovieName(Shape):
    id: Id
    title: Name
    accent: Colour


class CinemaName(Shape):
    id: Id
    name: Name
    city: Annotated[str, Field(examples=["Hamburg"])]
    time_zone: Annotated[str, Field(examples=["Europe/Berlin"])]


class AuditoriumName(Shape):
    id: Id
    name: Annotated[str, Field(examples=["Hall 2"])]
