"""Browsers' ends that follow a live map to the letter, thousands at once.

They stand on the same few states, so that a frame is applied once for all who go the same way:
5,000 maps cost little more than one.
"""

import asyncio
import json
import socket
from collections.abc import Iterator

from bench.browsers import hello
from server.events import STATE_AFTER

_TEXT, _PING = 0x81, 0x89


class State:
    """A map at one position; `after` are those that frames have led to from here."""

    __slots__ = ("after", "epoch", "locked_at", "seq", "states", "ttl_ms")

    def __init__(
        self, epoch: str, seq: int, states: list[str], locked_at: list[float], ttl_ms: float
    ) -> None:
        """`ttl_ms` is how long a lock lasts: by that, `expires_at` says when it was made."""
        self.epoch = epoch
        self.seq = seq
        self.states = states
        self.ttl_ms = ttl_ms
        self.locked_at = locked_at
        """Redis time, in ms, of the locks in the frame that led here."""
        self.after: dict[bytes, State] = {}

    def then(self, text: bytes, seats: dict[str, int]) -> "State":
        """Return what a frame makes of it; raises RuntimeError when something was lost."""
        if text not in self.after:
            self.after[text] = self._applied(json.loads(text), seats)
        return self.after[text]

    def _applied(self, frame: dict[str, object], seats: dict[str, int]) -> "State":
        match frame:
            case {"type": "snapshot", "epoch": str(epoch), "seq": int(seq), "states": str(states)}:
                return State(epoch, seq, list(states), [], self.ttl_ms)
            case {"type": "events", "epoch": self.epoch, "prev": int(prev), "seq": int(seq)}:
                if prev > self.seq:
                    raise RuntimeError(f"a watcher at {self.seq} was told what follows {prev}")
                return self._changed(frame, seq, seats) if seq > self.seq else self
            case {"type": "heartbeat", "seq": int(seq)}:
                if seq > self.seq:
                    raise RuntimeError(f"a watcher at {self.seq} was not told of {seq}")
                return self
        raise RuntimeError(f"a frame that nobody expects: {frame}")

    def _changed(self, frame: dict[str, object], seq: int, seats: dict[str, int]) -> "State":
        states, locked_at = self.states.copy(), []
        for event in frame["events"]:  # type: ignore[attr-defined]
            for seat in event["seats"]:
                states[seats[seat]] = STATE_AFTER[event["type"]]
            if "expires_at" in event:
                locked_at.append(event["expires_at"] - self.ttl_ms)
        return State(self.epoch, seq, states, locked_at, self.ttl_ms)


class End:
    """A browser's end of a WebSocket."""

    def __init__(self, showtime: str, ttl_seconds: float, seats: dict[str, int]) -> None:
        """`seats`: where each stands in the layout."""
        self.state = State("", 0, [], [], 1000 * ttl_seconds)
        self.frames = 0
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self._showtime = showtime
        self._seats = seats
        self._rest = b""

    async def open(self, port: int) -> None:
        """Return once the snapshot is there."""
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self.socket, ("127.0.0.1", port))
        await loop.sock_sendall(self.socket, hello(port, f"/api/showtimes/{self._showtime}/live"))
        while b"\r\n\r\n" not in self._rest:
            self._rest += await loop.sock_recv(self.socket, 65536)
        self._rest, data = b"", self._rest.partition(b"\r\n\r\n")[2]
        while not self.state.seq:
            for text in self._texts(data):
                self.state = self.state.then(text, self._seats)
            data = b"" if self.state.seq else await loop.sock_recv(self.socket, 65536)

    def read(self) -> list[float]:
        """Take what is there; returns when those seats were locked of which it heard now."""
        try:
            data = self.socket.recv(1 << 18)
        except BlockingIOError:
            return []
        if not data:
            raise RuntimeError("the server hung up")
        locked_at = []
        for text in self._texts(data):
            before, self.state = self.state, self.state.then(text, self._seats)
            self.frames += 1
            if self.state is not before:
                locked_at += self.state.locked_at
        return locked_at

    def _texts(self, data: bytes) -> Iterator[bytes]:
        """Yield the text of each whole frame; pings are answered."""
        data, at = self._rest + data, 0
        while len(data) >= at + 4:
            size, begin = data[at + 1], at + 2
            if size == 126:
                size, begin = int.from_bytes(data[at + 2 : at + 4]), at + 4
            if len(data) < begin + size:
                break
            kind, payload, at = data[at], data[begin : begin + size], begin + size
            if kind == _PING:
                self.socket.send(bytes((0x8A, 0x80 | size, 0, 0, 0, 0)) + payload)
            elif kind == _TEXT:
                yield payload
        self._rest = data[at:]
