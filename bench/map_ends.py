"""Browsers' ends that follow a live map to the letter, thousands at once.

They stand on the same few states: a frame is applied once for all who take it in the same place,
and ways that come to the same position have to come to the same map. So 5,000 maps cost little more
than one.
"""

import asyncio
import json
import socket
from collections.abc import Iterator

from bench.browsers import PING, TEXT, hello, whole_frames
from server.events import STATE_AFTER


class State:
    """A map at one position; `after` is what frames have led to from here."""

    __slots__ = ("after", "epoch", "seq", "states")

    def __init__(self, epoch: str, seq: int, states: list[str]) -> None:
        self.epoch = epoch
        self.seq = seq
        self.states = states
        self.after: dict[bytes, tuple[State, list[float]]] = {}
        """Where each frame leads, and when the seats were locked of which it tells: Redis time in
        ms."""


class States:
    """Every map that some end has come to."""

    def __init__(self, ttl_seconds: float, seats: dict[str, int]) -> None:
        """`ttl_seconds` is how long a lock lasts: by that, `expires_at` says when it was made.
        `seats`: where each stands in the layout."""
        self.first = State("", 0, [])
        self._ttl_ms = 1000 * ttl_seconds
        self._seats = seats
        self._at: dict[tuple[str, int], State] = {}

    def after(self, state: State, text: bytes) -> tuple[State, list[float]]:
        """Return what a frame makes of a map; raises RuntimeError when something was lost."""
        if text not in state.after:
            state.after[text] = self._applied(state, json.loads(text))
        return state.after[text]

    def _applied(self, state: State, frame: dict[str, object]) -> tuple[State, list[float]]:
        match frame:
            case {"type": "snapshot", "epoch": str(epoch), "seq": int(seq), "states": str(states)}:
                return self._met(State(epoch, seq, list(states))), []
            case {"type": "events", "epoch": state.epoch, "prev": int(prev), "seq": int(seq)}:
                if prev > state.seq:
                    raise RuntimeError(f"a watcher at {state.seq} was told what follows {prev}")
                return self._changed(state, frame, seq) if seq > state.seq else (state, [])
            case {"type": "heartbeat", "seq": int(seq)}:
                if seq > state.seq:
                    raise RuntimeError(f"a watcher at {state.seq} was not told of {seq}")
                return state, []
        raise RuntimeError(f"a frame that nobody expects: {frame}")

    def _changed(
        self, state: State, frame: dict[str, object], seq: int
    ) -> tuple[State, list[float]]:
        states, locked_at = state.states.copy(), []
        for event in frame["events"]:  # type: ignore[attr-defined]
            for seat in event["seats"]:
                states[self._seats[seat]] = STATE_AFTER[event["type"]]
            if "expires_at" in event:
                locked_at.append(event["expires_at"] - self._ttl_ms)
        return self._met(State(state.epoch, seq, states)), locked_at

    def _met(self, state: State) -> State:
        """Return the map at that position, whichever way leads to it."""
        known = self._at.setdefault((state.epoch, state.seq), state)
        if known.states != state.states:
            raise RuntimeError(f"two watchers at {state.seq} see different maps")
        return known


class End:
    """A browser's end of a WebSocket."""

    def __init__(self, showtime: str, states: States) -> None:
        self.state = states.first
        self.frames = 0
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self._showtime = showtime
        self._states = states
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
                self.state, _ = self._states.after(self.state, text)
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
            self.state, locked = self._states.after(self.state, text)
            self.frames += 1
            locked_at += locked
        return locked_at

    def _texts(self, data: bytes) -> Iterator[bytes]:
        """Yield the text of each whole frame; pings are answered."""
        data, at = self._rest + data, 0
        for kind, begin, at in whole_frames(data):
            payload = data[begin:at]
            if kind == PING:
                pong = bytes((0x8A, 0x80 | len(payload), 0, 0, 0, 0)) + payload
                self.socket.send(pong)
            elif kind == TEXT:
                yield payload
        self._rest = data[at:]
