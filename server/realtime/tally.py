"""What is counted of the live maps, for whoever watches over Rowlock."""

from typing import Literal, Protocol

Cause = Literal["subscribed", "hole", "lost", "went_back"]
"""Why a mirror is loaded: its subscription was confirmed, a change is missing, the store does not
know the showtime any more, the store went back in time."""


class Tally(Protocol):
    """All are called on the event loop, none of them for each watcher of a flush."""

    def came(self) -> None:
        """One more watches."""
        ...

    def went(self) -> None:
        """One less watches."""
        ...

    def heard(self) -> None:
        """One change was announced by Redis, and applied."""
        ...

    def flushed(self, lag: float) -> None:
        """Everybody was told what was new; `lag` is the seconds from the script to the last write,
        for the oldest change among it."""
        ...

    def delivered(self, frames: int) -> None:
        """A flush wrote so many frames to an audience. What one watcher is told alone (its first
        frame, a step to catch up, all of SSE) is not among them."""
        ...

    def reloaded(self, cause: Cause) -> None: ...

    def too_slow(self) -> None:
        """One watcher was let go because it took nothing for too long."""
        ...


class Uncounted:
    """A tally that nobody keeps."""

    def came(self) -> None: ...

    def went(self) -> None: ...

    def heard(self) -> None: ...

    def flushed(self, lag: float) -> None: ...

    def delivered(self, frames: int) -> None: ...

    def reloaded(self, cause: Cause) -> None: ...

    def too_slow(self) -> None: ...
