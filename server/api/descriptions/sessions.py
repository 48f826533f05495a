"""Where I am signed in."""

from typing import Annotated

from pydantic import Field

from server.api.descriptions.values import Page, Remaining, Shape, Time
from server.api.openapi import Answer, Operation
from server.api.sessions import SessionsQuery
from server.models import Id


class Session(Shape):
    id: Id
    created_at: Time
    last_used_at: Time
    expires_at: Time
    expires_in_ms: Remaining
    user_agent: str
    current: Annotated[bool, Field(description="It is the one that asks.")]


OPERATIONS = [
    Operation(
        "GET",
        "/api/auth/sessions",
        "listSessions",
        "My sessions, the one used last first",
        {200: Answer("A page of them.", Page[Session])},
        who="signed in",
        query=SessionsQuery,
    ),
    Operation(
        "DELETE",
        "/api/auth/sessions",
        "endOtherSessions",
        "End all my sessions but this one",
        {204: Answer("They have ended.")},
        who="signed in",
    ),
    Operation(
        "DELETE",
        "/api/auth/sessions/{session_id}",
        "endSession",
        "End one of my sessions",
        {204: Answer("It has ended.")},
        who="signed in",
    ),
]
