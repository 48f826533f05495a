"""One connection to Redis that all calls of a process share.

What a call costs is mostly its own write and its own wake-up. So nobody waits for anybody's reply
before sending: what is called in one turn of the event loop goes out in one write, and replies come
back in the order of the calls (RESP2, "Pipelining"). Each call has its own outcome: a caller that
is cancelled is not waited for, and whatever comes back for it is thrown away.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, cast

import hiredis


class Wire(asyncio.Protocol):
    """A call gets its reply, which may be an ErrorReply; ConnectionError when the connection is
    lost before that, TimeoutError when it did not come in time: Redis may have done what was
    asked."""

    def __init__(
        self, patience_seconds: float, sent: Callable[[int], None] = lambda calls: None
    ) -> None:
        """A connection that owes a reply for longer than that is given up. `sent` hears how many
        calls went out together."""
        self._patience = patience_seconds
        self._sent = sent
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(encoding="utf-8")
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
        self._owed: deque[tuple[asyncio.Future[Any], float]] = deque()
        """Calls without a reply, oldest first, and until when they wait for it."""
        self._watch: asyncio.TimerHandle | None = None
        self._lost: Exception = ConnectionError("the connection to Redis was lost")

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def waiting_seconds(self) -> float:
        """How long the oldest call has been waiting for its reply."""
        if not self._owed:
            return 0.0
        return self._loop.time() - (self._owed[0][1] - self._patience)

    def call(self, *command: str | int) -> asyncio.Future[Any]:
        """Send `command` at the end of this turn; returns what will have its outcome."""
        outcome: asyncio.Future[Any] = self._loop.create_future()
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(hiredis.pack_command(command))  # type: ignore[arg-type] # invariant
        deadline = self._loop.time() + self._patience
        self._owed.append((outcome, deadline))
        if self._watch is None:
            self._watch = self._loop.call_at(deadline, self._check)
        return outcome

    def abort(self) -> None:
        if self._transport:
            self._transport.abort()

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, []
        if self._transport and self.is_open:
            self._transport.write(b"".join(unsent))
            self._sent(len(unsent))
        else:
            self._fail()

    def _check(self) -> None:
        """Look at the oldest call when its time is over."""
        self._watch = None
        if not self._owed:
            return
        deadline = self._owed[0][1]
        if deadline <= self._loop.time():
            self._lost = TimeoutError("Redis did not answer in time")
            self.abort()
        else:
            self._watch = self._loop.call_at(deadline, self._check)

    def _fail(self) -> None:
        while self._owed:
            outcome, _ = self._owed.popleft()
            if not outcome.done():
                outcome.set_exception(self._lost)

    # -- asyncio.Protocol ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            outcome, _ = self._owed.popleft()
            if not outcome.done():
                outcome.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch:
            self._watch.cancel()
        self._fail()


class SharedWire:
    """The wire to one server, opened when it is first needed and again when it was lost."""

    def __init__(self, open_wire: Callable[[], Awaitable[Wire]]) -> None:
        """`open_wire` raises OSError, which includes TimeoutError."""
        self._open_wire = open_wire
        self._wire: Wire | None = None
        self._opening: asyncio.Task[Wire] | None = None

    async def call(self, *command: str | int) -> Any:
        """Return the reply; raises OSError."""
        wire = self._wire
        if wire is None or not wire.is_open:
            wire = await self._opened()
        return await wire.call(*command)

    @property
    def waiting_seconds(self) -> float:
        """How long the oldest call has been waiting for its reply."""
        return self._wire.waiting_seconds if self._wire else 0.0

    async def close(self) -> None:
        if self._wire:
            self._wire.abort()

    async def _opened(self) -> Wire:
        """However many ask, one opens it; who is cancelled while waiting stops nobody."""
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._open())
            self._opening.add_done_callback(self._done)
        return await asyncio.shield(self._opening)

    async def _open(self) -> Wire:
        self._wire = await self._open_wire()
        return self._wire

    def _done(self, opening: asyncio.Task[Wire]) -> None:
        self._opening = None
        if not opening.cancelled():
            opening.exception()  # whoever waited for it has it; it may be nobody any more
