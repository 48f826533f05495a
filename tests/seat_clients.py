"""Clients of the seat store that ask for this and that, each over a connection of its own."""

from collections.abc import Coroutine, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from random import Random
from typing import Any

from server import lua
from server.repo.redis import Scripts
from server.repo.seat_answers import Claim
from tests.seat_operation import Operation
from tests.seat_verdict import SEATS
from tests.timed_store import Wire

USERS = ("ann", "bob", "cid", "dot", "eve")
"""Fewer than clients: some people use two devices."""
_KINDS = (
    *("lock", "lock", "lock", "lock", "lock", "lock"),
    *("release", "extend", "mine", "map", "map", "revoke", "expire"),
)


class SentScripts(Scripts):
    """Sends nothing itself: awaiting a run gives its command out, and takes the reply in."""

    def __init__(self, wire: Wire, folder: Path) -> None:
        self._scripts = {name: lua.load(name, folder) for name in lua.names(folder)}
        self._digests = {
            name: wire.call("SCRIPT", "LOAD", script.source)
            for name, script in self._scripts.items()
        }

    async def run(
        self, name: str, keys: Mapping[str, str], rest: Iterable[str] = (), **args: str | int
    ) -> tuple[str, list[Any]]:
        script = self._scripts[name]
        argv = [args[arg] for arg in script.args] + list(rest if script.rest else ())
        named = [keys[key] for key in script.keys]
        word, *reply = await _Sent(("EVALSHA", self._digests[name], len(named), *named, *argv))
        return word, reply


class _Sent:
    def __init__(self, command: tuple[str | int, ...]) -> None:
        self._command = command

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield self._command)


@dataclass(slots=True)
class Client:
    """One connection. `asked` is under way; of its request, `unsent` is still to be sent.

    `bookings` and `locked` are what it believes to have.
    """

    user: str
    wire: Wire
    asked: Operation | None = None
    call: Coroutine[Any, Any, Any] | None = None
    unsent: bytes = b""
    bookings: list[Claim] = field(default_factory=list)
    locked: tuple[str, ...] = ()

    def choose(self, rng: Random, number: int, kind: str = "") -> Operation:
        """Return what it asks next, called at moment `number`; of a `kind`, when one is given."""
        kind = kind or self._kind(rng)
        seats = self._seats_for(kind, rng)
        user = rng.choice(USERS) if kind == "expire" else self.user
        booking = f"bk{number}"
        if kind in ("book", "unbook"):
            claim = self.bookings[-1]
            seats, booking = tuple(claim.seats), claim.booking_id
            if kind == "unbook" or rng.random() < 0.5:
                self.bookings.remove(claim)
        return Operation(kind, number, inf, user, seats, booking)

    def _kind(self, rng: Random) -> str:
        """Who has a booking often goes on with it, and who has seats often books them."""
        chance = rng.random()
        if self.bookings and chance < 0.4:
            return rng.choice(("book", "unbook", "unbook"))
        if self.locked and chance < 0.4:
            return "checkout"
        return rng.choice(_KINDS)

    def _seats_for(self, kind: str, rng: Random) -> tuple[str, ...]:
        if kind in ("extend", "mine", "map", "expire"):
            return ()
        if kind == "release" and rng.random() < 0.5:
            return ()
        if kind == "checkout" and rng.random() < 0.9:
            return self.locked
        return tuple(rng.sample(SEATS, rng.choice((1, 1, 2, 2, 3))))

    def remember(self, told: Operation) -> None:
        """Learn from an answer."""
        if told.kind in ("lock", "mine") and not told.refusal:
            self.locked = tuple(sorted(told.answer.seats))
        if told.kind in ("checkout", "release"):
            self.locked = ()
        if told.kind == "checkout" and told.answer is not None:
            self.bookings.append(Claim(told.booking, told.user, list(told.seats), False, 0))

    def forget(self) -> None:
        self.bookings, self.locked = [], ()
