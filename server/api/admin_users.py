"""For administrators: GET /api/admin/users, and PATCH …/{user_id} for roles and blocks."""

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.json_schema import SkipJsonSchema
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server.api.pages import Cursor, PageQuery, page
from server.api.problems import request_id_of
from server.api.requests import parse, path_id, query
from server.auth.guards import Guards
from server.auth.people import People, UserChange, UserFilter, UserRecord
from server.detached import Detached
from server.errors import InvalidRequest
from server.models import Caller, Id, Identity, Model, Role, from_ms, rfc3339, to_ms

_MAIL = r"[^@\s\x00-\x1f\x7f]{1,128}@[^@\s\x00-\x1f\x7f]{1,255}"

Mail = Annotated[
    str,
    StringConstraints(pattern=f"^{_MAIL}$"),
    Field(description="A whole mail address, in any case.", examples=["ada@example.com"]),
]
"""What might be a mail address."""

NamedUser = Annotated[
    str,
    StringConstraints(pattern=f"^([A-Za-z0-9_-]{{1,64}}|{_MAIL})$"),
    Field(description="A person, by id or by mail address.", examples=["ada@example.com"]),
]
"""A person by id or by mail address."""


class UsersQuery(PageQuery):
    email: Mail | None = None
    role: Role | None = None
    blocked: bool | None = None
    cursor: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**47)], Id], Cursor] | None = None


def _something(value: object) -> object:
    if value is None:
        raise ValueError("leave it out to leave it as it is")
    return value


def _no_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


_MAY_LACK: Any = Field(json_schema_extra=_no_default)
"""Of a member that may be left out, and is never null."""


class UserPatch(Model):
    """At least one of the two."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    role: Annotated[Role | SkipJsonSchema[None], BeforeValidator(_something), _MAY_LACK] = None
    blocked: Annotated[bool | SkipJsonSchema[None], BeforeValidator(_something), _MAY_LACK] = None


class AdminUserRoutes:
    def __init__(self, people: People, detached: Detached, guards: Guards) -> None:
        self._people = people
        self._detached = detached
        self._guards = guards

    @property
    def routes(self) -> list[Route]:
        signed_in, users = self._guards.signed_in, "/api/admin/users"
        return [
            Route(users, signed_in(self.list_users, "ADMIN"), methods=["GET"]),
            Route(f"{users}/{{user_id}}", signed_in(self.change, "ADMIN"), methods=["PATCH"]),
        ]

    async def list_users(self, request: Request, identity: Identity) -> Response:
        """Newest first; `email` is a whole address, in any case."""
        asked = query(request, UsersQuery)
        wanted = UserFilter(asked.email, asked.role, asked.blocked)
        before = (from_ms(asked.cursor[0]), asked.cursor[1]) if asked.cursor else None
        found = await self._people.find(wanted, before, asked.limit + 1)
        return page(
            found, asked.limit, _user_json, lambda each: (to_ms(each.created_at), each.user.id)
        )

    async def change(self, request: Request, identity: Identity) -> Response:
        body = await parse(request, UserPatch)
        if body.role is None and body.blocked is None:
            raise InvalidRequest("Name role, blocked or both.")
        change = UserChange(body.role, body.blocked)
        caller = Caller(identity.user_id, request_id_of(request))
        work = self._people.change(caller, path_id(request, "user_id"), change)
        return JSONResponse({"user": _user_json(await self._detached.run(work))})


def _user_json(record: UserRecord) -> dict[str, Any]:
    return {
        **record.user.as_json(),
        "blocked": record.user.blocked,
        "email_verified": record.email_verified,
        "providers": record.providers,
        "created_at": rfc3339(record.created_at),
        "signed_in_at": rfc3339(record.signed_in_at),
    }
