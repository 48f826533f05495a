"""Customers of servers that may die under them: each asks again until it has been answered.

A repeat is the same request: same Idempotency-Key, same X-Request-ID. What was answered for good is
an acknowledgement, and goes into the ledger, to be compared with what is stored.
"""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from server.bookings import booking_id_for
from server.models import Role, new_id
from server.repo.mongo import Database
from tests.keepalive import Answer, Connection
from tests.processes import token_for

NOT_YET = {"idempotency_in_progress", "store_unavailable"}
"""Answers that only say: ask again."""

_ANSWER_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Ack:
    """One request and the answer that ended it. `tries` counts how often it was sent."""

    kind: str
    user: str
    request_id: str
    path: str
    body: Any
    key: str
    booking: str
    seats: tuple[str, ...]
    answer: Answer
    tries: int
    waited: float

    @property
    def status(self) -> int:
        return self.answer.status


@dataclass(slots=True)
class Ledger:
    """What all customers were told, in the order of the answers."""

    acks: list[Ack] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    """Requests that were given up."""
    bugs: set[str] = field(default_factory=set)
    """Answers of 500."""
    asked: set[str] = field(default_factory=set)
    """The ids of all bookings that were asked for, answered or not."""

    def of(self, kind: str, *statuses: int) -> list[Ack]:
        return [a for a in self.acks if a.kind == kind and a.status in statuses]


class Customer:
    """Somebody signed in, who sends one request at a time and does not give up easily."""

    def __init__(
        self,
        user: str,
        port: Callable[[], int],
        ledger: Ledger,
        *,
        role: Role = "USER",
        patience: float = 25.0,
        pause: float = 0.1,
    ) -> None:
        """`port()` is asked anew for each try; 0 means that nobody serves just now."""
        self.user = user
        self.ledger = ledger
        self._port = port
        self._headers = {"Authorization": f"Bearer {token_for(user, role)}"}
        self._patience = patience
        self._pause = pause
        self._idle: dict[int, list[Connection]] = defaultdict(list)

    def close(self) -> None:
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    async def lock(self, showtime: str, *seats: str) -> Ack | None:
        path = f"/api/showtimes/{showtime}/seats/lock"
        return await self.ask("lock", "POST", path, {"seats": [*seats]}, seats=seats)

    async def extend(self, showtime: str) -> Ack | None:
        return await self.ask("extend", "POST", f"/api/showtimes/{showtime}/seats/lock/extend")

    async def release(self, showtime: str, *seats: str) -> Ack | None:
        query = f"?seats={','.join(seats)}" if seats else ""
        path = f"/api/showtimes/{showtime}/seats/lock{query}"
        return await self.ask("release", "DELETE", path, seats=seats)

    async def create(self, showtime: str, *seats: str, key: str = "") -> Ack | None:
        body = {"showtime_id": showtime, "seats": [*seats]}
        key = key or new_id("key")
        self.ledger.asked.add(booking_id_for(self.user, key))
        return await self.ask("create", "POST", "/api/bookings", body, key=key, seats=seats)

    async def pay(self, booking: str, method: str = "demo:approve", key: str = "") -> Ack | None:
        path, body = f"/api/bookings/{booking}/pay", {"payment_method": method}
        return await self.ask("pay", "POST", path, body, key=key or new_id("key"), booking=booking)

    async def cancel(self, booking: str, *seats: str) -> Ack | None:
        query = f"?seats={','.join(seats)}" if seats else ""
        path = f"/api/bookings/{booking}{query}"
        return await self.ask("cancel", "DELETE", path, booking=booking, seats=seats)

    async def again(self, ack: Ack) -> Ack | None:
        """Send a request with a key once more, after all is over."""
        return await self.ask(
            f"{ack.kind} again",
            "POST",
            ack.path,
            ack.body,
            key=ack.key,
            booking=ack.booking,
            seats=ack.seats,
        )

    async def ask(
        self,
        kind: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str = "",
        booking: str = "",
        seats: Sequence[str] = (),
    ) -> Ack | None:
        """Send a request until it is answered; None when that took too long."""
        request_id, began, tries = new_id("req"), monotonic(), 0
        headers = {**self._headers, "X-Request-ID": request_id}
        if key:
            headers["Idempotency-Key"] = key
        while monotonic() < began + self._patience:
            tries += 1
            answer = await self._once(method, path, body, headers)
            if answer is not None and not is_open(answer):
                booking = booking or booking_in(answer)
                ack = Ack(
                    *(kind, self.user, request_id, path, body, key, booking, tuple(seats)),
                    *(answer, tries, monotonic() - began),
                )
                self.ledger.acks.append(ack)
                return ack
            await asyncio.sleep(self._pause * random.uniform(0.5, 1.5))
        self.ledger.unanswered.append(f"{kind} {request_id} of {self.user}: {tries} tries")
        return None

    async def _once(
        self, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> Answer | None:
        port = self._port()
        if not port:
            return None
        idle = self._idle[port]
        connection = idle.pop() if idle else Connection(port)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                answer = await connection.request(method, path, body, headers)
        except (OSError, EOFError, TimeoutError):
            connection.close()
            return None
        idle.append(connection)
        if answer.status == 500:
            self.ledger.bugs.add(f"{method} {path}: {answer.body}")
        return answer


async def introduce(database: Database, *users: str, role: Role = "USER") -> None:
    """Store people as if they had signed in before."""
    for user in users:
        row = {"provider": "test", "sub": user, "email": f"{user}@example.com", "role": role}
        told = {"name": user, "email_verified": True, "signed_in_at": datetime.now(UTC)}
        await database["users"].update_one({"_id": user}, {"$set": row | told}, upsert=True)


def is_open(answer: Answer) -> bool:
    return answer.status >= 500 or (answer.body or {}).get("code") in NOT_YET


def booking_in(answer: Answer) -> str:
    """Return the id of the booking that an answer tells of."""
    body = answer.body or {}
    return str(body["booking"]["id"]) if answer.status < 300 and "booking" in body else ""


def same(one: Answer, other: Answer) -> bool:
    """Say whether two answers are the same but for the time that is left."""
    return (one.status, _timeless(one.body)) == (other.status, _timeless(other.body))


def _timeless(body: Any) -> str:
    return json.dumps(_without_time(body), sort_keys=True)


def _without_time(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_time(v) for k, v in value.items() if k != "expires_in_ms"}
    if isinstance(value, list):
        return [_without_time(entry) for entry in value]
    return value
