"""Everybody, for administrators: roles and blocks."""

from typing import Annotated

from pydantic import Field

from server import errors
from server.api.admin_users import UserPatch, UsersQuery
from server.api.descriptions.values import Page, Person, Shape, Time
from server.api.openapi import Answer, Operation


class User(Person):
    blocked: Annotated[bool, Field(description="Whether an administrator keeps them out.")]
    email_verified: Annotated[
        bool, Field(description="Whether somebody proved that the address is theirs.")
    ]
    providers: Annotated[
        list[str],
        Field(
            description="How they sign in: issuers of identities, or `password`.",
            examples=[["https://accounts.google.com", "password"]],
        ),
    ]
    created_at: Annotated[Time, Field(description="When they signed in here first.")]
    signed_in_at: Annotated[Time, Field(description="When they signed in last.")]


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
        refusals=(errors.LastAdmin, errors.EmailUnverified),
    ),
]
