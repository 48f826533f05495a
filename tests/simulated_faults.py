"""What goes wrong between a process and its stores in a simulation, and when.

A call takes effect at one moment, as a whole. What can go wrong is that this moment never comes,
comes late, comes twice, or comes and nobody hears of it; and that the process dies or sleeps.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from pymongo.errors import AutoReconnect

from server.errors import StoreUnavailable
from server.payments import PaymentUnknown
from tests.virtual_time import Owner, VirtualLoop

TIMEOUT_SECONDS = {"redis": 3.0, "mongo": 10.0, "bank": 30.0}
"""How long a client of each store waits; those of the bank give up earlier by themselves."""

UNANSWERED: dict[str, Callable[[], Exception]] = {
    "redis": StoreUnavailable,
    "mongo": lambda: AutoReconnect("no answer"),
    "bank": lambda: PaymentUnknown("no answer"),
}

LATE_SECONDS = 25.0
"""So long after its caller has given up may a call still take effect."""

KINDS = (
    "request lost",
    "reply lost",
    "late effect",
    "slow",
    "run twice",
    "crash before",
    "crash after",
    "asleep",
)


CRITICAL = (
    *("begin_checkout", "claim_seats", "book_seats", "release_booking", "return_seats"),
    *("lock_seats", "begin_rebuild", "rebuild_showtime", "bookings.insert_one", "bookings.find"),
    *("bookings.find_one_and_update", "bookings.update_one", "audit_outbox.insert_one"),
    *("audit_logs.insert_many", "confirm", "cancel", "refund"),
)
CALLS = (
    *(CRITICAL * 3),
    *("extend_lock", "release_seats", "revoke_seats", "block_seats", "close_showtime"),
    *("expire_lock", "read_log", "forget_log", "shown", "run_ids", "bookings.aggregate"),
    *("idempotency.find_one_and_update", "idempotency.update_one", "idempotency.delete_one"),
    *("audit_outbox.delete_many", "leases.find_one_and_update", "showtimes.find_one"),
    *("create_intent", "get"),
)
"""What a seed may focus on."""


@dataclass
class Faults:
    """Which faults strike in one seed, and how many have."""

    random: Random
    rates: dict[str, float] = field(default_factory=dict)
    """Store -> which part of the calls to it is struck."""
    kinds: tuple[str, ...] = ()
    focus: tuple[str, str, float] = ("", "", 0.0)
    """One call that is struck by one fault, and how often: what is rare elsewhere is not here."""
    triggers: dict[str, tuple[int, bool, Callable[[], None]]] = field(default_factory=dict)
    """Call -> before or after (true) the how-maniest of it something happens in the world."""
    runs: Counter[str] = field(default_factory=Counter)
    """Store -> how often it has started anew; what was on its way to it then never arrives."""
    away: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Store -> from when until when it does not answer at all."""
    prompt: float = 0.5
    """How many of all calls are answered at once."""
    struck: Counter[str] = field(default_factory=Counter)

    def draw(self, store: str, name: str) -> str:
        """Return the fault that strikes this call; nothing for most."""
        if name == self.focus[0] and self.random.random() < self.focus[2]:
            return self.focus[1]
        if self.rates and self.random.random() < self.rates[store]:
            return self.random.choice(self.kinds)
        return ""

    def triggered(self, name: str, effect: Callable[[], Any]) -> Callable[[], Any]:
        """Count a call that pulls a trigger; returns the effect with what it sets off."""
        count, after, happen = self.triggers.pop(name)
        if count > 1:
            self.triggers[name] = count - 1, after, happen
            return effect

        def both() -> Any:
            if not after:
                happen()
            try:
                return effect()
            finally:
                if after:
                    happen()

        return both

    def is_away(self, store: str, now: float) -> bool:
        span = self.away.get(store)
        return span is not None and span[0] <= now < span[1]

    def stop(self) -> None:
        self.rates, self.away, self.prompt, self.focus = {}, {}, 1.0, ("", "", 0.0)
        self.triggers = {}


class Line:
    """How one process reaches one store."""

    def __init__(
        self,
        loop: VirtualLoop,
        faults: Faults,
        store: str,
        owner: Owner,
        crash: Callable[[], None],
        note: Callable[..., None] | None = None,
    ) -> None:
        self._loop = loop
        self._faults = faults
        self._random = faults.random.random
        self._store = store
        self._owner = owner
        self._crash = crash
        self._note = note

    async def call(self, name: str, effect: Callable[[], Any]) -> Any:
        """Let `effect` happen at some moment; raises what the client of that store raises."""
        faults = self._faults
        if name in faults.triggers:
            effect = faults.triggered(name, effect)
        if fault := faults.draw(self._store, name):
            faults.struck[f"{fault}, {self._store}"] += 1
            return await self._struck(fault, name, effect)
        if faults.away and faults.is_away(self._store, self._loop.time()):
            faults.struck[f"away, {self._store}"] += 1
            return await self._unanswered(name, 0.05)
        if self._note:
            effect = self._noted(name, effect)
        if self._random() < faults.prompt:
            return effect()
        return await self._after(self._random() * 0.01, name, effect)

    async def _struck(self, fault: str, name: str, effect: Callable[[], Any]) -> Any:
        if self._note:
            self._note(self._owner.name, name, "!", fault)
            effect = self._noted(name, effect)
        patience = TIMEOUT_SECONDS[self._store]
        match fault:
            case "request lost":
                return await self._unanswered(name, self._random() * patience)
            case "reply lost":
                self._send(self._random() * 0.05, None, name, effect)
                return await self._unanswered(name, self._random() * patience)
            case "late effect":
                late = patience + self._random() * LATE_SECONDS
                self._send(late, None, name, effect)
                return await self._unanswered(name, patience)
            case "slow":
                return await self._after(self._random() * patience * 0.9, name, effect)
            case "run twice":
                if self._store != "mongo":  # its driver names a repeat as such
                    await self._after(self._random() * 0.2, name, _quiet(effect))
                return await self._after(self._random() * 0.2, name, effect)
            case "asleep":
                wake = self._loop.time() + self._random() * self._random() * 40
                self._owner.asleep_until = wake
                return await self._after(self._random() * 0.01, name, effect)
            case "crash after":
                _quiet(effect)()
        self._crash()
        return await self._loop.create_future()  # nobody comes back here

    async def _after(self, seconds: float, name: str, effect: Callable[[], Any]) -> Any:
        """The effect comes, even when whoever asked for it is gone by then."""
        answer = self._loop.create_future()
        self._send(seconds, answer, name, effect)
        return await answer

    def _send(
        self,
        seconds: float,
        answer: "asyncio.Future[Any] | None",
        name: str,
        effect: Callable[[], Any],
    ) -> None:
        run = self._faults.runs[self._store]
        self._loop.at(self._loop.time() + seconds, self._land, run, answer, name, effect)

    def _land(
        self,
        run: int,
        answer: "asyncio.Future[Any] | None",
        name: str,
        effect: Callable[[], Any],
    ) -> None:
        """Let it happen; and tell, if somebody still waits for it."""
        given_up = answer is None or answer.done()
        try:
            if run != self._faults.runs[self._store]:
                raise UNANSWERED[self._store]()
            found = effect()
        except Exception as error:
            if answer and not given_up:
                answer.set_exception(error)
            return
        if answer and not given_up:
            answer.set_result(found)
        elif name == "confirm":
            self._faults.struck["late capture" if found == "captured" else "late refusal"] += 1

    async def _unanswered(self, name: str, seconds: float) -> Any:
        await asyncio.sleep(seconds)
        raise UNANSWERED[self._store]()

    def _noted(self, name: str, effect: Callable[[], Any]) -> Callable[[], Any]:
        def noted() -> Any:
            note = self._note
            assert note
            try:
                answer = effect()
            except Exception as error:
                note(self._owner.name, name, repr(error))
                raise
            note(self._owner.name, name, repr(answer))
            return answer

        return noted


def _quiet(effect: Callable[[], Any]) -> Callable[[], Any]:
    """The same, where nobody hears how it ended."""

    def quiet() -> Any:
        try:
            return effect()
        except Exception:
            return None

    return quiet
