"""What takes the frames of an audience: a transport that says by itself how it is."""

from collections.abc import Callable, Iterable
from typing import Protocol

Write = Callable[[bytes], None]


class Outlet(Protocol):
    """A transport that takes WebSocket frames as they are."""

    @property
    def write(self) -> Write:
        """Sends a frame, or keeps what the system does not take yet; raises RuntimeError when the
        connection was closed."""
        ...

    @property
    def full(self) -> bool:
        """More should not be written before it has drained."""
        ...

    @property
    def gone(self) -> bool:
        """Nothing can be sent any more."""
        ...

    @property
    def buffered(self) -> int:
        """Bytes that wait in this process to be taken by the system."""
        ...

    def farewell(self, code: int, seconds: float) -> None:
        """Close with `code`; cut the connection when that takes too long."""
        ...


def write_all(writes: Iterable[Write], frame: bytes) -> None:
    """Write `frame` to all; what was closed is passed over."""
    rest = iter(writes)
    while True:
        try:
            for write in rest:
                write(frame)
            return
        except RuntimeError:
            pass  # closed a moment ago, which its watcher is about to hear; on with the others
