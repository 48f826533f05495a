"""`/api/showtimes/{id}/live`: the live seat map as WebSocket, or as SSE for those who ask for that.

Anonymous and one-way: a client only chooses where to begin (`?epoch=&seq=`). Close codes
(/asyncapi.json lists them): 1008 origin refused, 1013 try later (so many connections has the
address, or a store does not answer), 4404 no such showtime, 4408 too slow.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from server.errors import NotFound, RateLimited, StoreUnavailable
from server.models import ID
from server.realtime import audience
from server.realtime.channel import Channel
from server.realtime.framed import FramedProtocol, framed
from server.realtime.frames import Step
from server.realtime.hub import Hub
from server.realtime.protocol import abort
from server.socket_caps import Place, SocketCaps

_READY_SECONDS = 5.0

REFUSED, TRY_LATER, UNKNOWN_SHOWTIME = 1008, 1013, 4404


class LiveRoutes:
    def __init__(
        self,
        hub: Hub,
        origin_allowed: Callable[[str, str], bool],
        caps: SocketCaps | None = None,
    ) -> None:
        """Without `caps` anybody may have any number of connections open."""
        self._hub = hub
        self._origin_allowed = origin_allowed
        self._caps = caps or SocketCaps(per_address=sys.maxsize)

    @property
    def routes(self) -> list[BaseRoute]:
        path = "/api/showtimes/{showtime_id}/live"
        return [WebSocketRoute(path, self.socket), Route(path, self.stream)]

    async def socket(self, websocket: WebSocket) -> None:
        """Accept first and refuse by close code: a browser shows no other reason."""
        await websocket.accept()
        showtime_id = websocket.path_params["showtime_id"]
        origin, host = websocket.headers.get("origin"), websocket.headers.get("host", "")
        if origin is not None and not self._origin_allowed(origin, host):
            await _refuse(websocket, REFUSED)
        elif not ID.fullmatch(showtime_id):
            await _refuse(websocket, UNKNOWN_SHOWTIME)
        else:
            await self._watch(websocket, showtime_id)

    async def _watch(self, websocket: WebSocket, showtime_id: str) -> None:
        place = self._caps.take(websocket)
        if place is None:
            await _refuse(websocket, TRY_LATER)
            return
        visit = _Visit(place, self._hub, self._hub.enter(showtime_id))
        try:
            await _show(websocket, visit)
        finally:
            if not visit.kept:
                visit.end()

    async def stream(self, request: Request) -> Response:
        """The same as Server-Sent Events; each event's id is the position `epoch:seq`."""
        showtime_id = request.path_params["showtime_id"]
        if not ID.fullmatch(showtime_id):
            raise NotFound
        if self._caps.is_full(request):
            raise RateLimited("Too many connections from your address.", retry_after=10)
        with self._hub.watched(showtime_id) as channel:
            if not await channel.ready(_READY_SECONDS):
                raise StoreUnavailable
            if channel.missing:
                raise NotFound
        last = request.headers.get("last-event-id", "")
        epoch, _, seq = last.partition(":")
        position = _position({"epoch": epoch, "seq": seq} if last else request.query_params)

        headers = {"Content-Type": "text/event-stream; charset=utf-8"}
        if request.method == "HEAD":
            return Response(headers=headers)
        return _Events(headers, self._caps, self._hub, showtime_id, position)


class _Events(Response):
    """Sends Server-Sent Events until the client has gone, or takes none for too long.

    What it holds meanwhile ends with it, and so with the connection: there is no generator that
    somebody would have to close.
    """

    def __init__(
        self,
        headers: Mapping[str, str],
        caps: SocketCaps,
        hub: Hub,
        showtime_id: str,
        position: tuple[str, int],
    ) -> None:
        super().__init__(headers=headers)
        del self.headers["content-length"]
        self._caps = caps
        self._hub = hub
        self._showtime_id = showtime_id
        self._position = position

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = HTTPConnection(scope)
        with (
            self._caps.place(connection) as free,
            self._hub.watched(self._showtime_id) as channel,
        ):
            start = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start", **start})
            if free:
                await _until_first(_gone(receive), self._send(channel, connection, send))
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, channel: Channel, connection: HTTPConnection, send: Send) -> None:
        try:
            async for step in _steps(channel, *self._position):
                part = {"type": "http.response.body", "body": step.lines, "more_body": True}
                async with asyncio.timeout(audience.SLOW_SECONDS):
                    await send(part)
        except TimeoutError:
            channel.tally.too_slow()
            abort(connection)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _until_first(*ways: Coroutine[None, None, None]) -> None:
    """Run all of them until one has ended."""
    tasks = [asyncio.create_task(way) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):
            raise end


def _position(query: Mapping[str, str]) -> tuple[str, int]:
    """Read where the client wants to go on; ("", 0) when it does not say or makes no sense."""
    epoch, seq = query.get("epoch", ""), query.get("seq", "")
    return (epoch, int(seq)) if seq.isascii() and seq.isdigit() and len(seq) < 16 else ("", 0)


class _Visit:
    """What somebody holds who watches through a WebSocket, until it is over."""

    __slots__ = ("_hub", "_place", "channel", "kept")

    def __init__(self, place: Place, hub: Hub, channel: Channel) -> None:
        self._place = place
        self._hub = hub
        self.channel = channel
        self.kept = False
        """The connection has been left to the audience, which ends the visit."""

    def end(self) -> None:
        self._hub.leave(self.channel)
        self._place.give_back()


async def _show(websocket: WebSocket, visit: _Visit) -> None:
    channel, position = visit.channel, _position(websocket.query_params)
    if not await channel.ready(_READY_SECONDS):
        await _refuse(websocket, TRY_LATER)
    elif channel.missing:
        await _refuse(websocket, UNKNOWN_SHOWTIME)
    elif protocol := framed(websocket):
        _leave_to(protocol, visit, position)
    else:
        await _serve(websocket, channel, *position)


def _leave_to(protocol: FramedProtocol, visit: _Visit, position: tuple[str, int]) -> None:
    """Hand the connection over to the channel's audience: our own work here ends with that."""
    if not protocol.gone:
        visit.kept = True
        protocol.keep(visit.channel.join(protocol, *position, visit.end))


async def _serve(websocket: WebSocket, channel: Channel, epoch: str, seq: int) -> None:
    await _until_first(_send(websocket, channel, epoch, seq), _listen(websocket))


async def _refuse(websocket: WebSocket, code: int) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # it has gone already
        await websocket.close(code)


async def _listen(websocket: WebSocket) -> None:
    """Return when the client is gone; nothing that a watcher says matters."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


async def _send(websocket: WebSocket, channel: Channel, epoch: str, seq: int) -> None:
    try:
        async for step in _steps(channel, epoch, seq):
            async with asyncio.timeout(audience.SLOW_SECONDS):
                await websocket.send_text(step.frame)
    except TimeoutError:
        channel.tally.too_slow()
        await _let_go(websocket)
    except (WebSocketDisconnect, RuntimeError):
        return  # it has gone


async def _let_go(websocket: WebSocket) -> None:
    """Tell a slow client why, if it still takes a word, and free what it holds."""
    with contextlib.suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
        async with asyncio.timeout(audience.GOODBYE_SECONDS):
            await websocket.close(audience.TOO_SLOW)
    abort(websocket)


async def _steps(channel: Channel, epoch: str, seq: int) -> AsyncIterator[Step]:
    """Yield what this watcher needs next, for ever: steps as changes come, and heartbeats.

    All take the same steps, and their hearts beat at the same time.
    """
    loop = asyncio.get_running_loop()
    beat_at = _next_beat(loop.time())
    step: Step | None = channel.first_step(epoch, seq)
    while True:
        if step:
            epoch, seq = step.epoch, step.seq
            yield step
        if loop.time() >= beat_at:
            beat_at = _next_beat(loop.time())
            yield channel.heartbeat(epoch, seq)
        step = channel.step(epoch, seq)
        if step is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(beat_at):
                    await channel.changed()


def _next_beat(now: float) -> float:
    return (now // audience.HEARTBEAT_SECONDS + 1) * audience.HEARTBEAT_SECONDS
