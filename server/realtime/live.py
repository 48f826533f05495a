"""`/api/showtimes/{id}/live`: the live seat map as WebSocket, or as SSE for those who ask for that.

Anonymous and one-way: a client only chooses where to begin (`?epoch=&seq=`). Close codes as in
CONTRACT: 1008 origin refused, 1013 try later (so many connections has the address, or a store
does not answer), 4404 no such showtime, 4408 too slow.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from server.errors import NotFound, RateLimited, StoreUnavailable
from server.models import ID
from server.realtime import audience, frames
from server.realtime.audience import Watcher
from server.realtime.channel import Channel
from server.realtime.framed import FramedProtocol, framed
from server.realtime.frames import Step
from server.realtime.hub import Hub
from server.realtime.protocol import abort
from server.socket_caps import SocketCaps

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
        self._caps = caps

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
            with contextlib.ExitStack() as stack:
                if stack.enter_context(self._place(websocket)):
                    channel = stack.enter_context(self._hub.watched(showtime_id))
                    await _show(websocket, channel, stack)
                else:
                    await _refuse(websocket, TRY_LATER)

    def _place(self, connection: HTTPConnection) -> AbstractContextManager[bool]:
        return self._caps.place(connection) if self._caps else contextlib.nullcontext(True)

    async def stream(self, request: Request) -> Response:
        """The same as Server-Sent Events; each event's id is the position `epoch:seq`."""
        showtime_id = request.path_params["showtime_id"]
        if not ID.fullmatch(showtime_id):
            raise NotFound
        if self._caps and self._caps.is_full(request):
            raise RateLimited("Too many connections from your address.", retry_after=10)
        async with self._hub.watch(showtime_id) as channel:
            if not await channel.ready(_READY_SECONDS):
                raise StoreUnavailable
            if channel.missing:
                raise NotFound
        last = request.headers.get("last-event-id", "")
        epoch, _, seq = last.partition(":")
        position = _position({"epoch": epoch, "seq": seq} if last else request.query_params)

        async def body() -> AsyncIterator[str]:
            with self._place(request) as free:
                if not free:
                    return
                async with self._hub.watch(showtime_id) as channel:
                    async for lines in _lines(channel, *position):
                        yield lines

        return StreamingResponse(body(), media_type="text/event-stream")


def _position(query: Mapping[str, str]) -> tuple[str, int]:
    """Read where the client wants to go on; ("", 0) when it does not say or makes no sense."""
    epoch, seq = query.get("epoch", ""), query.get("seq", "")
    return (epoch, int(seq)) if seq.isascii() and seq.isdigit() and len(seq) < 16 else ("", 0)


async def _lines(channel: Channel, epoch: str, seq: int) -> AsyncIterator[str]:
    """Yield the frames as Server-Sent Events."""
    async for frame, step in _frames(channel, epoch, seq):
        yield f"id: {step.epoch}:{step.seq}\n" if step else ""
        yield f"data: {frame}\n\n"


async def _show(websocket: WebSocket, channel: Channel, stack: contextlib.ExitStack) -> None:
    """Let the client watch; `stack` is what it holds as long as it does."""
    if not await channel.ready(_READY_SECONDS):
        await _refuse(websocket, TRY_LATER)
    elif channel.missing:
        await _refuse(websocket, UNKNOWN_SHOWTIME)
    elif protocol := framed(websocket):
        _leave_to(protocol, channel, _position(websocket.query_params), stack)
    else:
        await _serve(websocket, channel, *_position(websocket.query_params))


def _leave_to(
    protocol: FramedProtocol,
    channel: Channel,
    position: tuple[str, int],
    stack: contextlib.ExitStack,
) -> None:
    """Hand the connection over to the channel's audience: our own work here ends with that."""
    if not protocol.gone:
        watcher = channel.join(protocol, *position)
        protocol.keep(Kept(watcher, stack.pop_all().close))


class Kept:
    """A watcher whose connection is kept; `done` gives back what it held."""

    __slots__ = ("_done", "_watcher", "drained")

    def __init__(self, watcher: Watcher, done: Callable[[], None] = lambda: None) -> None:
        self._watcher = watcher
        self._done = done
        self.drained = watcher.drained

    def lost(self) -> None:
        self._watcher.lost()
        self._done()


async def _serve(websocket: WebSocket, channel: Channel, epoch: str, seq: int) -> None:
    sender = asyncio.create_task(_send(websocket, channel, epoch, seq))
    listener = asyncio.create_task(_listen(websocket))
    try:
        await asyncio.wait((sender, listener), return_when=asyncio.FIRST_COMPLETED)
    finally:
        sender.cancel()
        listener.cancel()
        await asyncio.gather(sender, listener, return_exceptions=True)


async def _refuse(websocket: WebSocket, code: int) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # it has gone already
        await websocket.close(code)


async def _listen(websocket: WebSocket) -> None:
    """Return when the client is gone; nothing that a watcher says matters."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


async def _send(websocket: WebSocket, channel: Channel, epoch: str, seq: int) -> None:
    try:
        async for frame, _ in _frames(channel, epoch, seq):
            async with asyncio.timeout(audience.SLOW_SECONDS):
                await websocket.send_text(frame)
    except TimeoutError:
        await _let_go(websocket)
    except (WebSocketDisconnect, RuntimeError):
        return  # it has gone


async def _let_go(websocket: WebSocket) -> None:
    """Tell a slow client why, if it still takes a word, and free what it holds."""
    with contextlib.suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
        async with asyncio.timeout(audience.GOODBYE_SECONDS):
            await websocket.close(audience.TOO_SLOW)
    abort(websocket)


async def _frames(channel: Channel, epoch: str, seq: int) -> AsyncIterator[tuple[str, Step | None]]:
    """Yield what this watcher needs next, for ever: steps as changes come, and heartbeats."""
    loop = asyncio.get_running_loop()
    beat_at = loop.time() + audience.HEARTBEAT_SECONDS
    step: Step | None = channel.first_step(epoch, seq)
    while True:
        if step:
            epoch, seq = step.epoch, step.seq
            yield step.frame, step
        if loop.time() >= beat_at:
            beat_at = loop.time() + audience.HEARTBEAT_SECONDS
            yield frames.heartbeat(seq, channel.mirror.now()), None
        step = channel.step(epoch, seq)
        if step is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(beat_at):
                    await channel.changed()
