"""Everybody, for administrators: roles and blocks."""

from typing import Annotated

from pydantic import Field

from server import errors
from server.api.admin_users import UserPatch, UsersQuery
from server.api.descriptions.values import Page, Person, Shape, Time
from server.api.openapi import Answer, Operation


class User(Person):
    blocked: bool
    providers: list[Annotated[str, Field(examples=["google"])]]
    created_at: Time
    signed_in_at: Time


class UserAnswer(Shape):
    user: User


OPERATIONS = [
    Operation(
        "GET",
        "/api/admin/users",
        "listUsers",
        "Everybody, newest first",
        {200: Answer("A page of people.", Page[User])},
        who="administrator",
        query=UsersQuery,
    ),
    Operation(
        "PATCH",
        "/api/admin/users/{user_id}",
        "changeUser",
        "Change somebody's role, block them, or let them in again",
        {200: Answer("As they are now.", UserAnswer)},
        who="administrator",
        about="Holds from their next request to an elevated route on; a block ends all sessions.",
        body=UserPatch,
        example={"role": "BOX_OFFICE"},
        refusals=(errors.LastAdmin,),
    ),
]
