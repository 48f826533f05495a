"""The frames of the live seat map, as CONTRACT names them: as text, and as a WebSocket has them.

Times in ms since 1970.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from server.events import Event

_FINAL_TEXT = 0x81


@dataclass(frozen=True, slots=True)
class Step:
    """A frame, and the position that a watcher has reached once it was sent."""

    frame: str
    wire: bytes
    """The frame as a WebSocket frame: the same bytes for everybody."""
    lines: bytes
    """The frame as a Server-Sent Event, whose id is the position."""
    epoch: str
    seq: int


def step(frame: str, epoch: str, seq: int) -> Step:
    lines = f"id: {epoch}:{seq}\ndata: {frame}\n\n".encode()
    return Step(frame, websocket(frame), lines, epoch, seq)


def snapshot(epoch: str, seq: int, server_time: int, states: str) -> str:
    return _frame(type="snapshot", epoch=epoch, seq=seq, server_time=server_time, states=states)


def events(epoch: str, prev: int, seq: int, server_time: int, changes: Sequence[Event]) -> str:
    return _frame(
        type="events", epoch=epoch, prev=prev, seq=seq, server_time=server_time, events=changes
    )


def heartbeat(seq: int, server_time: int) -> str:
    return _frame(type="heartbeat", seq=seq, server_time=server_time)


def websocket(text: str) -> bytes:
    """Return `text` as one unmasked WebSocket text frame (RFC 6455, 5.2)."""
    payload = text.encode()
    size = len(payload)
    if size < 126:
        return bytes((_FINAL_TEXT, size)) + payload
    if size < 1 << 16:
        return bytes((_FINAL_TEXT, 126)) + size.to_bytes(2) + payload
    return bytes((_FINAL_TEXT, 127)) + size.to_bytes(8) + payload


def _frame(**fields: object) -> str:
    return json.dumps(fields, separators=(",", ":"))
