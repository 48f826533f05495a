"""The live audit feed alone on a real socket: what it takes to follow it, and to see it fail."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from server.api.audit_live import AuditLiveRoutes
from server.audit_tail import AuditTail
from server.models import Identity, new_id
from server.realtime.protocol import abort
from server.repo.audit_logs import AuditLogRepo
from server.repo.mongo import UNAVAILABLE, Database, Document
from server.repo.users import Users
from server.serving import bind, serve
from tests.auth_flow import auth_for
from tests.running import eventually
from tests.stored import Stored

PATH = "/api/admin/audit/live"
GOOD_ORIGIN = "http://localhost:8000"


class Logs(AuditLogRepo):
    """Counts what is read; the next `refusals` pages are not to be had."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.heads = self.rows = self.refusals = 0

    async def head(self) -> int:
        self.heads += 1
        return await super().head()

    async def after(self, n: int, limit: int) -> list[Document]:
        if self.refusals:
            self.refusals -= 1
            raise UNAVAILABLE[0]("not now")
        found = await super().after(n, limit)
        self.rows += len(found)
        return found


@dataclass
class Feed:
    """The live feed alone: entries come from elsewhere, as from another process."""

    host: str
    database: Database
    logs: Logs
    transports: "list[asyncio.Transport]"
    """The server's end of each connection."""

    async def append(self, count: int, **fields: Any) -> list[str]:
        rows = [
            {
                "_id": new_id("act"),
                "at": datetime.now(UTC),
                "actor": "system",
                "action": "test.entry",
                "outcome": "ok",
                "target": {},
                "detail": {},
                "request_id": "",
                **fields,
            }
            for _ in range(count)
        ]
        assert await self.logs.append(rows) == count
        return [row["_id"] for row in rows]

    async def person(self, name: str = "ada", *, admin: bool = True) -> Identity:
        told = {"email": f"{name}@example.com", "email_verified": True, "name": name}
        user = await Users(self.database).upsert_by_sub("test", name, admin=admin, **told)
        return Identity(user.id, user.role)

    async def ticket(self, identity: Identity | None = None) -> str:
        return await auth_for(self.database).tickets.issue(identity or await self.person())

    async def chain(self) -> list[str]:
        return [row["_id"] async for row in self.logs.chain()]

    @asynccontextmanager
    async def following(self, after: str = "", **options: Any) -> AsyncIterator[ClientConnection]:
        """An administrator who has been let in."""
        ticket = await self.ticket()
        async with self.connection(after, **options) as socket:
            await say_who(socket, ticket)
            await heartbeat(socket)
            yield socket

    def connection(self, after: str = "", **options: Any) -> Any:
        query = f"?after={after}" if after else ""
        return connect(f"ws://{self.host}{PATH}{query}", **options)


@asynccontextmanager
async def feed_on(stored: Stored, *, small: bool = False) -> AsyncIterator[Feed]:
    """Serve on `stored`; with `small`, the system takes little that is not received."""
    auth, logs = auth_for(stored.database), Logs(stored.database)
    routes = AuditLiveRoutes(
        AuditTail(logs, look_seconds=0.05),
        auth.tickets,
        auth.guards,
        lambda origin, host: origin == GOOD_ORIGIN,
        abort,
        UNAVAILABLE,
    ).routes
    app, transports, ready = Starlette(routes=routes), [], asyncio.Event()

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            transports.append(scope["extensions"]["rowlock.abort"]["call"].__self__)
        await app(scope, receive, send)

    with bind("127.0.0.1", 0) as listener:
        if small:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        serving = asyncio.create_task(serve(watched, listener, ready.set))
        await ready.wait()
        try:
            host = f"127.0.0.1:{listener.getsockname()[1]}"
            yield Feed(host, stored.database, logs, transports)
        finally:
            serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving


async def say_who(socket: ClientConnection, ticket: str) -> None:
    await socket.send(json.dumps({"type": "auth", "ticket": ticket}))


async def auth_message(feed: Feed) -> str:
    return json.dumps({"type": "auth", "ticket": await feed.ticket()})


async def receive(socket: ClientConnection, within: float = 10) -> dict[str, Any]:
    async with asyncio.timeout(within):
        frame: dict[str, Any] = json.loads(await socket.recv())
        return frame


async def heartbeat(socket: ClientConnection) -> dict[str, Any]:
    """Wait for the first frame of a quiet feed."""
    frame = await receive(socket)
    assert frame["type"] == "heartbeat", frame
    return frame


async def entries(socket: ClientConnection, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(30):
        while len(found) < count:
            frame = await receive(socket)
            assert frame["type"] in ("audit", "heartbeat")
            if frame["type"] == "audit":
                assert frame.keys() == {"type", "entry"}
                found.append(frame["entry"])
    return found


async def ids(socket: ClientConnection, count: int) -> list[str]:
    return [entry["id"] for entry in await entries(socket, count)]


async def farewell(socket: ClientConnection, within: float = 10) -> tuple[int | None, str | None]:
    """Read until the server closes; nothing but heartbeats may come before."""
    with suppress(ConnectionClosed):
        async with asyncio.timeout(within):
            while True:
                assert json.loads(await socket.recv())["type"] == "heartbeat"
    return socket.close_code, socket.close_reason


async def nothing_left(within: float = 5.0) -> None:
    """No connection is served any more, and nobody looks at the log."""

    async def gone() -> bool:
        tasks = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}  # type: ignore[union-attr]
        ours = {"AuditTail._look", "AuditLiveRoutes", "WebSocketsSansIOProtocol.run_asgi"}
        return not any(name.startswith(tuple(ours)) for name in tasks)

    await eventually(gone, within)


async def ticket_of(client: httpx.AsyncClient) -> str:
    answer = await client.post("/api/auth/ticket")
    assert answer.status_code == 200, answer.text
    return answer.json()["ticket"]


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelname in ("WARNING", "ERROR")]
