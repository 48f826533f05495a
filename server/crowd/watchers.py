"""Watchers of a live seat map, thousands of them: each follows the rule that clients follow.

Another epoch: come back without a position. `seq` <= mine: ignore. `prev` <= mine: apply. `prev` >
mine, or a heartbeat ahead of mine: a gap, come back with my position. Close codes tell when to come
back.
"""

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from server.crowd.figures import Figures
from server.crowd.visitor import asked_to_wait

_STATE_AFTER = {
    "seat.locked": ord("l"),
    "seat.released": ord("."),
    "seat.booked": ord("b"),
    "seat.blocked": ord("x"),
}
_SOON, _LATER = (0.1, 2.0), (2.0, 10.0)
"""Seconds, between which a watcher comes back at random."""
_TRY_LATER = 1013
_CONNECTING_SECONDS = 20.0
_GOODBYE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Position:
    epoch: str
    seq: int


class Hall:
    """The showtime that all watch: where it is, and what its seats are called."""

    def __init__(self, server: str, showtime_id: str, seats: Sequence[str]) -> None:
        parts = urlsplit(server)
        self.showtime_id = showtime_id
        self.secure = parts.scheme == "https"
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if self.secure else 80)
        self.index = {seat: number for number, seat in enumerate(seats)}
        self.read = lru_cache(maxsize=64)(json.loads)
        """Reads a frame; the same one comes to everybody."""
        scheme = "wss" if self.secure else "ws"
        self._live = f"{scheme}://{parts.netloc}/api/showtimes/{showtime_id}/live"

    def live(self, position: Position | None) -> str:
        """Return the address of the live map, from `position` on."""
        return f"{self._live}?epoch={position.epoch}&seq={position.seq}" if position else self._live


class Watcher:
    """Follows the map until it is cancelled, and comes back whenever the connection ends."""

    def __init__(self, hall: Hall, figures: Figures, turns: asyncio.Semaphore) -> None:
        """`turns` bounds how many connect at a time."""
        self.position: Position | None = None
        self.states = bytearray()
        self._hall = hall
        self._figures = figures
        self._turns = turns

    async def follow(self) -> None:
        while True:
            seconds = await self._connection()
            await asyncio.sleep(seconds)

    async def _connection(self) -> float:
        """Watch over one connection; returns after how many seconds to come back."""
        connection = _Connection(self._hall.live(self.position), self.take)
        try:
            async with self._turns, asyncio.timeout(_CONNECTING_SECONDS):
                hall = self._hall
                await asyncio.get_running_loop().create_connection(
                    lambda: connection, hall.host, hall.port, ssl=hall.secure or None
                )
                await asyncio.shield(connection.opened)
        except InvalidStatus as refusal:
            connection.leave()
            self._figures.counts["turned away"] += 1
            return asked_to_wait(refusal.response.headers) + _some(_SOON)
        except (OSError, TimeoutError, InvalidHandshake):
            connection.leave()
            self._figures.counts["unanswered"] += 1
            return _some(_LATER)
        self._figures.connected += 1
        try:
            code = await asyncio.shield(connection.closed)
            self._figures.counts["reconnects"] += 1
            return _some(_LATER if code == _TRY_LATER else _SOON)
        finally:
            self._figures.connected -= 1
            connection.leave()
            await asyncio.wait([connection.closed], timeout=_GOODBYE_SECONDS)

    def take(self, text: bytes) -> bool:
        """Take one frame in; False: come back."""
        self._figures.counts["frames"] += 1
        frame: Mapping[str, Any] = self._hall.read(text)
        if frame["type"] == "heartbeat":
            return self.position is None or self._has(frame["seq"])
        mine, epoch, seq = self.position, frame["epoch"], frame["seq"]
        if mine and epoch != mine.epoch:
            self.position = None
            return False
        if mine and seq <= mine.seq:
            return True
        if frame["type"] == "snapshot":
            self.states[:] = frame["states"].encode()
        elif not self._has(frame["prev"]):
            return False
        else:
            self._apply(frame["events"])
            self._figures.lag.add(time.time() * 1000 - frame["server_time"])
        self.position = Position(epoch, seq)
        self._figures.reached(epoch, seq)
        return True

    def _has(self, seq: int) -> bool:
        """Say whether it has come as far; if not, what is between is a gap."""
        if self.position and seq <= self.position.seq:
            return True
        self._figures.counts["gaps"] += 1
        return False

    def _apply(self, events: Sequence[Mapping[str, Any]]) -> None:
        index = self._hall.index
        for event in events:
            state = _STATE_AFTER[event["type"]]
            for seat in event["seats"]:
                self.states[index[seat]] = state


def _some(bounds: tuple[float, float]) -> float:
    return random.uniform(*bounds)  # noqa: S311


class _Connection(asyncio.Protocol):
    """One WebSocket, without a task of its own: the library's rules on a bare transport."""

    def __init__(self, address: str, take: Any) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[int] = loop.create_future()
        self._rules = ClientProtocol(parse_uri(address), max_size=None)
        self._take = take
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._rules.send_request(self._rules.connect())
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._rules.receive_data(data)
        for event in self._rules.events_received():
            if not isinstance(event, Frame):
                self._answered()
            elif event.opcode is Opcode.TEXT and not self._take(bytes(event.data)):
                self._rules.send_close(1000)
        self._flush()

    def _answered(self) -> None:
        """An answer to the handshake is there, be it a refusal."""
        if self.opened.done():
            return
        if refusal := self._rules.handshake_exc:
            self.opened.set_exception(refusal)
        else:
            self.opened.set_result(None)

    def eof_received(self) -> None:
        self._rules.receive_eof()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(exc or ConnectionError("the server hung up"))
            self.opened.exception()  # whoever left does not ask for it
        if not self.closed.done():
            told = self._rules.close_rcvd
            self.closed.set_result(told.code if told else 1006)

    def leave(self) -> None:
        """Say goodbye and close, whatever state it is in."""
        if self._transport and not self._transport.is_closing():
            if self._rules.state.name == "OPEN":
                self._rules.send_close(1000)
                self._flush()
            self._transport.close()

    def _flush(self) -> None:
        assert self._transport
        for data in self._rules.data_to_send():
            if data:
                self._transport.write(data)
            else:
                self._transport.close()
