"""`/api/admin/audit/live`: the audit log as it grows, as WebSocket, for administrators.

The client speaks first, in text of at most 4 KiB and within 5 s: `{"type":"auth","ticket":"…"}`.
From then on the server sends

- `{"type":"audit","entry":{…}}` for each entry, as GET /api/admin/audit shows it, oldest first:
  those after the entry that `?after=<entry id>` names, without it those that come now. Who comes
  back with the last id that it got misses no entry and gets none twice.
- `{"type":"heartbeat","server_time":ms}` every 15 s, whether MongoDB answers or not.

What the client says then is dropped. Close codes, each with a reason in words:

- 1008 origin refused; no first message in time, or a malformed one; a ticket that is not good; a
  person who is not ADMIN, or not any longer, or who was blocked or has signed out
- 1009 a message of more than 8 KiB
- 1012 restart: come back after a random delay, with `after`
- 1013 MongoDB does not answer, or too many connections are open from one address or by one person:
  the same, with another ticket
- 4404 no entry has the id in `after`: start over with GET /api/admin/audit and the newest id there
- 4408 a frame was not taken within 10 s: come back, with `after`
"""

import asyncio
import contextlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import StringConstraints, ValidationError
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from server.api.admin import entry_json
from server.audit_tail import AuditTail
from server.auth.guards import Guards
from server.auth.tickets import Tickets
from server.errors import Forbidden, Unauthenticated
from server.models import Identity, Model, to_ms
from server.socket_caps import SocketCaps

FIRST_MESSAGE_SECONDS = 5.0
FIRST_MESSAGE_BYTES = 4096
HEARTBEAT_SECONDS = 15.0
ROLE_SECONDS = 10.0
"""How long somebody who is ADMIN no longer, is blocked or has signed out may go on reading."""
SLOW_SECONDS = 10.0
_STORE_SECONDS = 5.0
_GOODBYE_SECONDS = 1.0

REFUSED, TRY_LATER, UNKNOWN_ENTRY, TOO_SLOW = 1008, 1013, 4404, 4408


class Goodbye(Exception):
    """The connection ends with this close code, for this reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Auth(Model):
    """The first message."""

    type: Literal["auth"]
    ticket: Annotated[str, StringConstraints(max_length=256)]


class AuditLiveRoutes:
    def __init__(
        self,
        tail: AuditTail,
        tickets: Tickets,
        guards: Guards,
        origin_allowed: Callable[[str, str], bool],
        abort: Callable[[WebSocket], None],
        unavailable: tuple[type[Exception], ...],
        caps: SocketCaps | None = None,
    ) -> None:
        """`abort` cuts a socket; `unavailable` is what is raised when MongoDB does not answer.

        Without `caps` anybody may have any number of connections open.
        """
        self._tail = tail
        self._tickets = tickets
        self._guards = guards
        self._origin_allowed = origin_allowed
        self._abort = abort
        self._caps = caps
        self._no_answer: tuple[type[Exception], ...] = (TimeoutError, *unavailable)

    @property
    def routes(self) -> list[BaseRoute]:
        return [WebSocketRoute("/api/admin/audit/live", self.socket)]

    async def socket(self, websocket: WebSocket) -> None:
        """Accept first and refuse by close code: a browser shows no other reason."""
        await websocket.accept()
        try:
            with ExitStack() as places:
                self._take(places, lambda caps: caps.place(websocket))
                admin, place = await self._admit(websocket)
                self._take(places, lambda caps: caps.place_of(admin.user_id, websocket))
                await self._serve(websocket, admin, place)
        except* WebSocketDisconnect:
            pass
        except* Goodbye as goodbyes:
            await self._part(websocket, goodbyes.exceptions[0])

    def _take(
        self,
        places: ExitStack,
        place: Callable[[SocketCaps], AbstractContextManager[bool]],
    ) -> None:
        """Take a place for as long as the connection lasts; raises Goodbye."""
        if self._caps and not places.enter_context(place(self._caps)):
            raise Goodbye(TRY_LATER, "too many connections")

    async def _admit(self, websocket: WebSocket) -> tuple[Identity, int]:
        """Return who this is and from where on to read; raises Goodbye, WebSocketDisconnect."""
        origin, host = websocket.headers.get("origin"), websocket.headers.get("host", "")
        if origin is not None and not self._origin_allowed(origin, host):
            raise Goodbye(REFUSED, "this origin is not allowed")
        ticket = await _ticket(websocket)
        try:
            async with asyncio.timeout(_STORE_SECONDS):
                after = websocket.query_params.get("after")
                # Before anything else: what happens from here on counts as new.
                end = None if after else await self._tail.place(None)
                identity = await self._tickets.redeem(ticket)
                await self._insist_on_admin(identity)
                # Not for strangers: they would learn which entries there are.
                place = await self._tail.place(after) if after else end
        except Unauthenticated as refusal:
            raise Goodbye(REFUSED, refusal.detail) from None
        except self._no_answer:
            raise Goodbye(TRY_LATER, "a store does not answer; come back later") from None
        if place is None:
            raise Goodbye(UNKNOWN_ENTRY, "no entry has the id in after; start over")
        return identity, place

    async def _insist_on_admin(self, identity: Identity) -> None:
        """Ask the store: the ticket of somebody who was ADMIN when signing in is not enough."""
        try:
            await self._guards.insist(identity, "ADMIN")
        except Unauthenticated as refusal:
            raise Goodbye(REFUSED, refusal.detail) from None
        except Forbidden:
            raise Goodbye(REFUSED, "this is for administrators") from None

    async def _serve(self, websocket: WebSocket, admin: Identity, place: int) -> None:
        """Serve until one of these four ends; they end by exception alone."""
        try:
            async with asyncio.TaskGroup() as together:
                together.create_task(_listen(websocket))
                together.create_task(self._follow(websocket, place))
                together.create_task(_beat(websocket))
                together.create_task(self._watch_role(admin))
        finally:
            # However it ended: what is not taken by then would stay in the buffer for ever.
            asyncio.get_running_loop().call_later(2 * _GOODBYE_SECONDS, self._abort, websocket)

    async def _follow(self, websocket: WebSocket, place: int) -> None:
        async with self._tail.followed():
            while True:
                for entry in await self._tail.after(place):
                    await _send(websocket, type="audit", entry=entry_json(entry))
                    place = entry.n

    async def _watch_role(self, admin: Identity) -> None:
        while True:
            await asyncio.sleep(ROLE_SECONDS)
            with contextlib.suppress(*self._no_answer):
                await self._insist_on_admin(admin)

    async def _part(self, websocket: WebSocket, goodbye: Exception) -> None:
        assert isinstance(goodbye, Goodbye)
        try:
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await websocket.close(goodbye.code, goodbye.reason)
        except TimeoutError:
            self._abort(websocket)
        except (WebSocketDisconnect, RuntimeError):
            pass  # it has gone


async def _ticket(websocket: WebSocket) -> str:
    try:
        async with asyncio.timeout(FIRST_MESSAGE_SECONDS):
            message = await _receive(websocket)
    except TimeoutError:
        raise Goodbye(REFUSED, "no first message within 5 s") from None
    text = message.get("text") or ""
    if len(text.encode()) > FIRST_MESSAGE_BYTES:
        raise Goodbye(REFUSED, "the first message is larger than 4 KiB")
    try:
        return Auth.model_validate_json(text).ticket
    except ValidationError:
        expected = 'the first message has to be {"type":"auth","ticket":"..."}'
        raise Goodbye(REFUSED, expected) from None


async def _listen(websocket: WebSocket) -> None:
    """Drop what the client says, a message at a time."""
    while True:
        await _receive(websocket)


async def _beat(websocket: WebSocket) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        await _send(websocket, type="heartbeat", server_time=to_ms(datetime.now(UTC)))


async def _receive(websocket: WebSocket) -> Any:
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message["code"])
    return message


async def _send(websocket: WebSocket, **frame: Any) -> None:
    try:
        async with asyncio.timeout(SLOW_SECONDS):
            await websocket.send_text(json.dumps(frame, separators=(",", ":")))
    except TimeoutError:
        raise Goodbye(TOO_SLOW, "too slow; come back with the last id") from None
    except RuntimeError:  # it was closed meanwhile
        raise WebSocketDisconnect from None
