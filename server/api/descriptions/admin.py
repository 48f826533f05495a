"""For administrators: ping and the audit log."""

from typing import Annotated, Any, Literal

from pydantic import Field

from server.api.admin import FeedQuery
from server.api.descriptions.values import Page, Shape, Time
from server.api.openapi import Answer, Operation
from server.models import Id


class Pong(Shape):
    pong: Literal[True]


class Actor(Shape):
    id: Id
    email: str


class AuditEntry(Shape):
    id: str
    at: Time
    actor: Actor | Literal["system"]
    action: Annotated[str, Field(examples=["seat.locked"])]
    outcome: Annotated[str, Field(examples=["ok"])]
    target: dict[str, str]
    detail: dict[str, Any]
    request_id: str


OPERATIONS = [
    Operation(
        "GET",
        "/api/admin/ping",
        "ping",
        "Am I an administrator?",
        {200: Answer("Yes.", Pong)},
        who="administrator",
    ),
    Operation(
        "GET",
        "/api/admin/audit",
        "listAuditEntries",
        "What happened and who did it, newest first",
        {200: Answer("A page of entries.", Page[AuditEntry])},
        who="administrator",
        about="`from` is inclusive, `to` is not.",
        query=FeedQuery,
    ),
]
