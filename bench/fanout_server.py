"""The server of `bench.fanout`: watchers of one showtime, told on request.

Either by Rowlock's channel, or by a loop of send() in C over the same sockets of the same process,
which is what the system alone takes. Nobody is pinged, and no heart beats.
"""

import asyncio
import ctypes
import json
import sys
import time
from collections.abc import Awaitable, Callable

import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from server.catalogue import Layout, Row, Seat
from server.realtime import audience, channel, frames
from server.realtime.framed import FramedProtocol, framed
from server.repo.seat_answers import SeatStates
from server.serving import bind, serve

SHOWTIME = "sho_bench"


class Drawing:
    """A hall of 900 free seats, as the source of truth of a channel."""

    layout = Layout((Row("A", tuple(Seat(f"A{n}", n) for n in range(900))),))

    async def states(self, showtime_id: str) -> tuple[Layout, SeatStates]:
        return self.layout, SeatStates("epoch", 0, round(time.time() * 1000), {})

    async def positions(self, showtime_ids: list[str]) -> list[tuple[str, int] | None]:
        return [("epoch", 0) for _ in showtime_ids]

    async def renew(self, showtime_id: str, stale_epoch: str) -> None:
        pass


class Broadcast:
    """Tells all sockets the same thing, again and again."""

    def __init__(self, library: str) -> None:
        self.channel = channel.Channel(SHOWTIME, Drawing())
        self._protocols: list[FramedProtocol] = []
        self._send = ctypes.CDLL(library).send_to_all if library else None

    async def watch(self, websocket: WebSocket) -> None:
        await websocket.accept()
        protocol = framed(websocket)
        assert protocol
        self._protocols.append(protocol)

        protocol.keep(self.channel.join(protocol, "", 0))
        protocol.stop_keepalive()

    async def measure(self, request: Request) -> Response:
        """Return the CPU seconds, user and system, of `rounds` rounds to all sockets."""
        rounds, pause = int(request.query_params["rounds"]), float(request.query_params["pause"])
        way = {"rowlock": self.change, "c": self._c}[request.query_params["way"]]
        fds = [each.transport.get_extra_info("socket").fileno() for each in self._protocols]
        self._fds = (ctypes.c_int * len(fds))(*fds)
        seconds = await _cpu_of(way, rounds, pause)
        return JSONResponse({"seconds": seconds, "deliveries": rounds * len(self.channel.audience)})

    def _change(self) -> bytes:
        mirror = self.channel.mirror
        seat = f"A{mirror.seq % 300}"
        event = {"type": "seat.locked", "seats": [seat, "A301", "A302"], "expires_at": mirror.now()}
        change = {"epoch": mirror.epoch, "seq": mirror.seq + 1, "at": mirror.now()}
        return json.dumps({**change, "events": [event]}).encode()

    def _step(self) -> frames.Step:
        """Return a step as long as those that the channel sends."""
        mirror = self.channel.mirror
        changes = mirror.since(mirror.seq - 1) or []
        text = frames.events(mirror.epoch, mirror.seq - 1, mirror.seq, mirror.now(), changes)
        return frames.step(text, mirror.epoch, mirror.seq)

    async def change(self) -> None:
        self.channel.hear(self._change())

    async def _c(self) -> None:
        assert self._send
        frame = self._step().wire
        taken = self._send(self._fds, len(self._fds), frame, len(frame))
        if taken != len(self._fds):
            raise RuntimeError(f"only {taken} of {len(self._fds)} sockets took the frame")


async def _cpu_of(way: Callable[[], Awaitable[None]], rounds: int, pause: float) -> float:
    began = time.process_time()
    for _ in range(rounds):
        await way()
        await asyncio.sleep(pause)
    return time.process_time() - began


async def main(library: str) -> None:
    channel.WIDEST_SECONDS = channel.WINDOW_SECONDS  # a busy machine must not fold the changes
    audience.HEARTBEAT_SECONDS = 86_400.0
    broadcast = Broadcast(library)
    broadcast.channel.reload("subscribed")
    assert await broadcast.channel.ready(5)
    await broadcast.change()
    app = Starlette(
        routes=[
            WebSocketRoute("/watch", broadcast.watch),
            Route("/measure", broadcast.measure, methods=["POST"]),
        ]
    )
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        await serve(app, listener, lambda: print(port, flush=True))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1] if len(sys.argv) > 1 else ""))
