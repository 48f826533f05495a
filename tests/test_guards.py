"""Guards: who may call a route, by the token and by what the store says at that moment."""

import inspect
from dataclasses import dataclass, field

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from server.auth.guards import Guards, roles_of
from server.errors import Forbidden, Unauthenticated
from server.models import Identity
from server.repo.users import User
from tests.running import IN_MODULE_LOOP, problem, served, sign_in, user_id

pytestmark = IN_MODULE_LOOP

server = served()

ROLES = ("USER", "BOX_OFFICE", "ADMIN")


@dataclass
class Door:
    """A token that says one role and a store that says another; `asked` counts the store."""

    token: str
    stored: str | None
    blocked: bool = False
    asked: list[str] = field(default_factory=list)

    def verify(self, token):
        return Identity("usr_x", self.token)

    async def owner(self, identity):
        self.asked.append(identity.user_id)
        if self.stored is None:
            raise Unauthenticated
        return User(identity.user_id, "x@example.com", "X", self.stored, self.blocked)

    async def knock(self, *roles):
        async def handler(request, identity):
            return PlainTextResponse(identity.user_id)

        endpoint = Guards(self, self).signed_in(handler, *roles)
        headers = [(b"authorization", b"Bearer t")]
        return (await endpoint(Request({"type": "http", "headers": headers}))).body


@pytest.mark.parametrize("stored", [*ROLES, None])
@pytest.mark.parametrize("token", ROLES)
@pytest.mark.parametrize("wanted", [("ADMIN",), ("ADMIN", "BOX_OFFICE"), ("BOX_OFFICE",)])
async def test_token_and_store_both_have_to_allow_it(wanted, token, stored):
    door = Door(token, stored)
    if token in wanted and stored in wanted:
        assert await door.knock(*wanted) == b"usr_x"
    else:
        unknown = token in wanted and stored is None
        with pytest.raises(Unauthenticated if unknown else Forbidden):
            await door.knock(*wanted)


@pytest.mark.parametrize("role", ["BOX_OFFICE", "ADMIN"])
async def test_who_is_blocked_is_not_signed_in(role):
    with pytest.raises(Unauthenticated):
        await Door(role, role, blocked=True).knock("ADMIN", "BOX_OFFICE")


async def test_the_store_is_asked_at_each_call_and_not_for_what_everybody_may():
    door = Door("ADMIN", "ADMIN")
    for _ in range(3):
        await door.knock("ADMIN")
    assert len(door.asked) == 3
    plain = Door("USER", None, blocked=True)
    assert await plain.knock() == b"usr_x"
    assert plain.asked == []


async def test_the_route_table_tells_who_may_call(server):
    told = {
        (method, route.path): roles_of(route.endpoint)
        for route in server.app.routes
        if isinstance(route, Route)
        for method in route.methods - {"HEAD"}
    }
    assert told["GET", "/api/movies"] is None
    assert told["GET", "/api/bookings"] == ()
    house = {
        ("GET", "/api/admin/bookings"),
        ("POST", "/api/admin/showtimes/{showtime_id}/seats/lock"),
    }
    for route, roles in told.items():
        if route[1].startswith("/api/admin/"):
            assert set(roles) == ({"ADMIN", "BOX_OFFICE"} if route in house else {"ADMIN"}), route
    locks = "/api/showtimes/{id}/seats/locks"
    assert set(told["GET", locks]) == {"ADMIN", "BOX_OFFICE"}
    assert told["DELETE", locks] == ("ADMIN",)


async def test_an_endpoint_is_named_and_told_of_as_its_handler():
    async def handler(request, identity):
        """What it does."""

    endpoint = Guards(Door("USER", "USER"), Door("USER", "USER")).signed_in(handler)
    assert (endpoint.__name__, endpoint.__doc__) == ("handler", "What it does.")
    assert inspect.iscoroutinefunction(endpoint)


async def test_what_the_store_says_holds_at_the_next_call(server):
    """With one token: a role taken, given back, a block, an account gone, a sign-out."""
    users, ada = server.stored.database["users"], await user_id(server.ada)
    where = {"_id": ada}

    async def ping(status):
        assert (await server.ada.get("/api/admin/ping")).status_code == status

    await ping(200)
    for role in ("USER", "BOX_OFFICE"):
        await users.update_one(where, {"$set": {"role": role}})
        problem(await server.ada.get("/api/admin/ping"), 403, "forbidden")
    await users.update_one(where, {"$set": {"role": "ADMIN"}})
    await ping(200)
    await users.update_one(where, {"$set": {"blocked": True}})
    problem(await server.ada.get("/api/admin/ping"), 401, "unauthenticated")
    await users.update_one(where, {"$unset": {"blocked": ""}})
    await ping(200)
    row = await users.find_one_and_delete(where)
    problem(await server.ada.get("/api/admin/ping"), 401, "unauthenticated")
    await users.insert_one(row)
    await ping(200)
    assert (await server.ada.post("/api/auth/logout")).status_code == 204
    problem(await server.ada.get("/api/admin/ping"), 401, "unauthenticated")
    await sign_in(server.ada, "ada@example.com")
    await ping(200)


async def test_a_new_role_waits_for_the_next_token(server):
    """More than the token says is never given."""
    where = {"_id": await user_id(server.eve)}
    await server.stored.database["users"].update_one(
        where, {"$set": {"role": "ADMIN", "granted_role": "ADMIN"}}
    )
    problem(await server.eve.get("/api/admin/ping"), 403, "forbidden")
    await sign_in(server.eve, "eve@example.com")
    assert (await server.eve.get("/api/admin/ping")).status_code == 200
