"""Records what concurrent clients of the real seat scripts asked, what they were told, and when.

Eight clients, a connection each. One thread drives them all, so that the order of calls and
returns is known exactly; up to eight requests are under way at a time. Which runs first is the
store's affair: some requests are held back half-sent while others overtake them, some answers are
read late, some connections break, before or after the store has got all of the request.
"""

import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import hiredis

from server import lua
from server.errors import (
    ExtensionLimitReached,
    LockExpired,
    SeatLimitReached,
    SeatsUnavailable,
)
from server.repo.claims import ClaimStore
from server.repo.seat_answers import Claim, Lock, SeatsTaken
from server.repo.seats import SeatStore
from tests.seat_clients import USERS, Client, SentScripts
from tests.seat_operation import Mine, Operation
from tests.seat_verdict import CAP
from tests.timed_store import Wire

CLIENTS = 8
LONG_S, SHORT_S = 300.0, 0.006
"""In half of the histories locks lapse."""
_CLOSES_AT = datetime(2100, 1, 1, tzinfo=UTC)
_REFUSALS: Mapping[type[Exception], str] = {
    SeatsUnavailable: "unavailable",
    SeatLimitReached: "limit",
    ExtensionLimitReached: "limit",
    LockExpired: "lapsed",
    SeatsTaken: "taken",
}


class Historian:
    """Records histories on the store at `url`; `seats_of` may give another seat store to test."""

    def __init__(
        self,
        url: str,
        folder: Path = lua.FOLDER,
        seats_of: Callable[..., SeatStore] = SeatStore,
    ) -> None:
        self._url = url
        self._wire = Wire(url)
        scripts = SentScripts(self._wire, folder)
        self._stores = {
            ttl: seats_of(None, scripts, ttl_seconds=ttl, max_seats_per_user=CAP)
            for ttl in (LONG_S, SHORT_S)
        }
        self._claims = ClaimStore(scripts)
        self._clients = [Client(USERS[n % len(USERS)], Wire(url)) for n in range(CLIENTS)]

    def close(self) -> None:
        self._wire.close()
        for client in self._clients:
            client.wire.close()

    def record(self, seed: int, *, lossy: bool = True) -> list[Operation]:
        """Return a history of 40 to 80 operations of a hall that is all free at first."""
        rng = Random(seed)
        showtime = f"sho_{seed}"
        self._empty(showtime)
        ttl = rng.choice((LONG_S, SHORT_S))
        soonest = _clock_ms() - 2 + round(ttl * 1000)
        recording = _Recording(showtime, self._stores[ttl], self._claims, rng, soonest)
        for client in self._clients:
            client.forget()
        left = rng.randint(40, 80) - 2
        while left or any(client.asked for client in self._clients):
            idle = [client for client in self._clients if not client.asked]
            busy = [client for client in self._clients if client.asked]
            if left and idle and (not busy or rng.random() < 0.6):
                left -= 1
                recording.ask(rng.choice(idle))
                if ttl == SHORT_S and rng.random() < 0.1:
                    time.sleep(0.002)
            elif lossy and rng.random() < 0.03:
                self._break(rng.choice(busy), recording)
            else:
                recording.go_on(rng.choice(busy))
        for kind in ("map", "mine"):
            recording.ask(self._clients[0], kind)
            while self._clients[0].asked:
                recording.go_on(self._clients[0])
        return recording.history()

    def _empty(self, showtime: str) -> None:
        self._wire.call("FLUSHDB")
        for call in (
            self._claims.begin_rebuild(showtime, "tok", ""),
            self._claims.rebuild(showtime, "tok", closes_at=_CLOSES_AT, blocked=[], claims=[]),
        ):
            with suppress(StopIteration):
                call.send(self._wire.call(*call.send(None)))

    def _break(self, client: Client, recording: "_Recording") -> None:
        """Lose the connection; whether the store got the request and did it, nobody will know."""
        recording.lose(client)
        client.wire.close()
        client.wire = Wire(self._url)


class _Recording:
    """One history in the making. Calls and returns are numbered in their order.

    No lock that is made in it ends before `soonest`.
    """

    def __init__(
        self, showtime: str, seats: SeatStore, claims: ClaimStore, rng: Random, soonest: int
    ) -> None:
        self._showtime, self._seats, self._claims, self._rng = showtime, seats, claims, rng
        self._soonest = soonest
        self._moments = 0
        self._done: list[Operation] = []
        self._lost: list[Operation] = []

    def history(self) -> list[Operation]:
        ended = _clock_ms() + 2
        return self._done + [replace(operation, ended=ended) for operation in self._lost]

    def ask(self, client: Client, kind: str = "") -> None:
        """Let an idle client call something, and send all or half of it."""
        chosen = client.choose(self._rng, self._moment(), kind)
        client.asked = replace(chosen, started=_clock_ms() - 2, soonest=self._soonest)
        client.call = self._calling(client.asked)
        self._send(client, client.call.send(None))

    def go_on(self, client: Client) -> None:
        """Send the rest of the request; or read the answer."""
        assert client.asked
        assert client.call
        if client.unsent:
            client.wire.send_packed(client.unsent)
            client.unsent = b""
            return
        answer, refusal = None, ""
        try:
            self._send(client, client.call.send(client.wire.receive()))
            return  # it asks the store something more
        except StopIteration as done:
            answer = done.value
        except tuple(_REFUSALS) as refused:
            answer, refusal = refused, _REFUSALS[type(refused)]
        asked, client.asked = client.asked, None
        told = replace(asked, returned=self._moment(), ended=_clock_ms() + 2, refusal=refusal)
        self._done.append(replace(told, answer=_told(told, answer)))
        client.remember(self._done[-1])

    def lose(self, client: Client) -> None:
        assert client.asked
        assert client.call
        self._lost.append(client.asked)
        client.call.close()
        client.asked, client.unsent = None, b""

    def _send(self, client: Client, command: tuple[str | int, ...]) -> None:
        request = hiredis.pack_command(command)
        half = len(request) // 2 if self._rng.random() < 0.4 else len(request)
        client.wire.send_packed(request[:half])
        client.unsent = request[half:]

    def _moment(self) -> int:
        self._moments += 1
        return self._moments

    def _calling(self, asked: Operation) -> Coroutine[Any, Any, Any]:
        where, user, seats = self._showtime, asked.user, asked.seats
        match asked.kind:
            case "lock":
                return self._seats.lock(where, user, seats, "")
            case "extend":
                return self._seats.extend(where, user, "")
            case "release":
                return self._seats.release(where, user, seats, "")
            case "mine":
                return self._seats.lock_of(where, user)
            case "map":
                return self._seats.read(where)
            case "revoke":
                return self._seats.revoke(where, "boss", seats, "")
            case "expire":
                return self._seats.expire(where, user)
            case "checkout":
                return self._claims.begin_checkout(where, user, asked.booking, seats)
            case "book":
                claim = Claim(asked.booking, user, list(seats), True, 0)
                return self._claims.claim(where, claim)
        return self._claims.release(where, asked.booking, seats, reason="cancelled")


def _told(told: Operation, answer: Any) -> Any:
    """Put an answer into the words of `tests.seat_register`."""
    if isinstance(answer, SeatsUnavailable):
        return {entry["seat"]: entry["state"] for entry in answer.fields["unavailable"]}
    if isinstance(answer, Exception):
        return None
    match told.kind:
        case "lock" | "extend" | "mine":
            return _mine(answer)
        case "release":
            return frozenset(answer[0]), _mine(answer[1])
        case "map":
            return answer.taken
        case "checkout":
            return answer[0] if answer else None
        case "unbook" | "revoke":
            return frozenset(answer)
    return answer


def _mine(lock: Lock | None) -> Mine:
    return Mine(frozenset(lock.seats), lock.expires_at) if lock else Mine()


def _clock_ms() -> int:
    return time.time_ns() // 1_000_000
