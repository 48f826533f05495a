"""The text frames of the live seat map, as CONTRACT names them. Times in ms since 1970."""

import json
from collections.abc import Sequence

from server.events import Event


def snapshot(epoch: str, seq: int, server_time: int, states: str) -> str:
    return _frame(type="snapshot", epoch=epoch, seq=seq, server_time=server_time, states=states)


def events(epoch: str, prev: int, seq: int, server_time: int, changes: Sequence[Event]) -> str:
    return _frame(
        type="events", epoch=epoch, prev=prev, seq=seq, server_time=server_time, events=changes
    )


def heartbeat(seq: int, server_time: int) -> str:
    return _frame(type="heartbeat", seq=seq, server_time=server_time)


def _frame(**fields: object) -> str:
    return json.dumps(fields, separators=(",", ":"))
