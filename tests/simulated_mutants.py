"""Known ways to get the saga wrong, planted one at a time: the simulation must find each.

A mutant changes the server's code, or the scripts' model, while it is entered. `caught_as` is what
the oracle must say, so that none is caught for something else.
"""

import asyncio
import re
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

from server.audit import AuditRelay
from server.booking import Booking
from server.bookings import BookingSaga
from server.idempotency import IdempotentRequests
from server.repo.bookings import BookingRepo
from server.repo.seats import SeatStore
from server.settlement import Settlement, _intent_of
from tests.memory_mongo import Unique
from tests.seat_model_claims import ModelClaimStore
from tests.seat_model_locks import ModelSeatStore
from tests.seat_model_state import Remembered
from tests.simulated_bank import BankProvider
from tests.simulation import run, staged


@dataclass(frozen=True)
class Mutant:
    name: str
    caught_as: str
    """A pattern that one of the violations must match."""
    changes: list[Any] = field(default_factory=list)

    @contextmanager
    def planted(self) -> Iterator[None]:
        with ExitStack() as stack:
            for change in self.changes:
                stack.enter_context(change)
            yield


# -- MongoDB ------------------------------------------------------------------------------------


def _never_taken(self: Unique, document: dict[str, Any]) -> bool:
    return "claims" not in self.pattern and _taken(self, document)


_taken = Unique.taken


async def _move_blindly(self: BookingRepo, where: Any, entries: Any, **changes: Any) -> Any:
    """Whatever the booking has become meanwhile."""
    return await _move(self, {"_id": where["_id"]}, entries, **changes)


_move = BookingRepo._move


async def _move_then_log(self: BookingRepo, where: Any, entries: Any, **changes: Any) -> Any:
    """First what happens, then that it has happened."""
    if not await _move(self, where, [], **changes):
        return None
    return await _move(self, {"_id": where["_id"]}, entries)


async def _end_unflagged(
    self: BookingRepo, where: Any, entries: Any, status: str, **values: Any
) -> Any:
    """Nothing says that the seats are still to be freed in Redis."""
    return await _move(self, where, entries, free=True, status=status, **values)


# -- money --------------------------------------------------------------------------------------


async def _look_up(self: BankProvider, intent_id: str) -> Any:
    """What is open counts as cancelled, but nothing keeps it from being captured."""
    return await self.get(intent_id) or "cancelled"


async def _refund_anew(self: BankProvider, intent_id: str, key: str, amount: Any) -> None:
    await _refund(self, intent_id, secrets.token_hex(8), amount)


_refund = BankProvider.refund


async def _captured_soon(self: Settlement, caller: Any, booking: Booking) -> Booking:
    """Tell first, write afterwards."""
    asyncio.get_running_loop().create_task(_quietly(_captured, self, caller, booking))
    return replace(booking, status="confirmed")


_captured = Settlement._captured


async def _quietly(work: Any, *args: Any) -> None:
    try:
        await work(*args)
    except Exception:
        return


async def _confirm_first(
    self: BookingSaga, caller: Any, booking: Any, payment: str, method: str
) -> Any:
    """The money moves before the booking says on which intent."""
    intent_id = await self._provider.create_intent(payment, booking.amount, method)
    await self._provider.confirm(intent_id)
    return await _start_payment(self, caller, booking, payment, method)


_start_payment = BookingSaga._start_payment


async def _settle_hastily(self: Settlement, booking: Booking) -> Booking:
    """No answer counts as no."""
    try:
        outcome = await self._provider.cancel(_intent_of(booking))
    except Exception:
        outcome = "cancelled"
    if outcome == "cancelled":
        entries = [replace(booking.timeline[0], action="booking.expired", at=None)]
        return await self._bookings.expire_unpaid(booking, entries) or booking
    return await _settle(self, booking)


_settle = Settlement.settle


# -- seats --------------------------------------------------------------------------------------


async def _release_blindly(
    self: ModelClaimStore, showtime_id: str, booking_id: str, seats: Any, **who: Any
) -> list[str]:
    """Free the seats, whosever they are by now."""
    showtime = self._state.loaded(showtime_id)
    for seat in seats:
        kind, owner = showtime.state(seat)
        if kind in ("b", "c") and owner != booking_id:
            await _release(self, showtime_id, owner, [seat], **who)
    return await _release(self, showtime_id, booking_id, seats, **who)


_release = ModelClaimStore.release


async def _rebuild_unfenced(
    self: ModelClaimStore, showtime_id: str, token: str, **truth: Any
) -> Any:
    """Load what was read, however long ago that was."""
    until = self._state.now() + 1
    self._state.stored.rights[showtime_id] = Remembered(until, {"token": token})
    return await _rebuild(self, showtime_id, token, **truth)


_rebuild = ModelClaimStore.rebuild


async def _lock_and_extend(self: ModelSeatStore, showtime_id: str, user_id: str, *more: Any) -> Any:
    """Every further lock starts the time anew."""
    found = self._state.showtime(showtime_id).locks.get(user_id)
    if found and found.deadline > self._state.now():
        found.deadline = self._state.now() + self._ttl_ms
        self._state.save_lock(self._state.showtime(showtime_id), found)
    return await _lock(self, showtime_id, user_id, *more)


_lock = ModelSeatStore.lock


# -- what is told and what is logged --------------------------------------------------------------


async def _record_later(self: SeatStore, logged: Any) -> None:
    """Tell first, keep it in MongoDB afterwards."""
    asyncio.get_running_loop().create_task(_quietly(_record, self, logged))


_record = SeatStore._record


async def _forget_first(self: AuditRelay) -> int:
    """Take the events out of the queue, then write them down."""
    logs, append = self._logs, self._logs.append
    log = self._seat_log

    async def forget_and_append(rows: Any) -> int:
        entries = await log.read(partition, 500)
        await log.forget(partition, [entry.position for entry in entries])
        return await append(rows)

    from server import audit

    (partition,) = audit.PARTITIONS
    with patch.object(logs, "append", forget_and_append):
        return await _relay(self)


_relay = AuditRelay.run_once


async def _run_each_time(
    self: IdempotentRequests, scope: str, key: str, request: str, work: Any, refusal: Any
) -> Any:
    """No key is remembered; what was begun under it is found by the saga, or not."""
    try:
        return await work(), False
    except Exception as error:
        if not hasattr(error, "status"):
            raise
        return refusal(error), False


def hunt(name: str, seeds: int) -> tuple[int, str] | None:
    """Return the first seed that catches the mutant of that name, and what it says."""
    (mutant,) = (each for each in MUTANTS if each.name == name)
    with mutant.planted(), staged() as clock:
        for seed in range(seeds):
            for violation in run(clock, seed).violations:
                if re.search(mutant.caught_as, violation):
                    return seed, violation
    return None


def _on(where: Any, name: str, change: Any) -> Any:
    return patch.object(where, name, change)


MUTANTS = [
    Mutant("no unique index on claims", "belong to", [_on(Unique, "taken", _never_taken)]),
    Mutant(
        "no compare-and-set",
        "goes from|told to be confirmed and is|claims",
        [_on(BookingRepo, "_move", _move_blindly)],
    ),
    Mutant(
        "audit as a second write",
        "audit: bk_.* is told 0 times",
        [_on(BookingRepo, "_move", _move_then_log)],
    ),
    Mutant(
        "a freed seat is not flagged",
        "MongoDB says None, Redis [bc]",
        [_on(BookingRepo, "_end", _end_unflagged)],
    ),
    Mutant(
        "lookup instead of cancel as the fence",
        "is captured while its booking is expired",
        [_on(BankProvider, "cancel", _look_up)],
    ),
    Mutant(
        "an unknown payment counts as none",
        "is captured while its booking is|sold 0, kept",
        [_on(Settlement, "settle", _settle_hastily)],
    ),
    Mutant(
        "money before the intent is stored",
        "is captured while its booking is pending",
        [_on(BookingSaga, "_start_payment", _confirm_first)],
    ),
    Mutant("refund without a key", "sold .*, kept", [_on(BankProvider, "refund", _refund_anew)]),
    Mutant(
        "the answer before the write",
        "was told to be confirmed and is",
        [_on(Settlement, "_captured", _captured_soon)],
    ),
    Mutant(
        "a release that does not compare the booking's id",
        "MongoDB says b:.*, Redis None",
        [_on(ModelClaimStore, "release", _release_blindly)],
    ),
    Mutant(
        "a rebuild without a fence",
        "MongoDB says",
        [_on(ModelClaimStore, "rebuild", _rebuild_unfenced)],
    ),
    Mutant(
        "a lock timer that a repeat extends",
        "lock_.* lives",
        [_on(ModelSeatStore, "lock", _lock_and_extend)],
    ),
    Mutant(
        "a lock told before it is kept",
        "audit: (lock|extend|release|revoke) of",
        [_on(SeatStore, "_record", _record_later)],
    ),
    Mutant(
        "the relay forgets before it writes",
        "audit: seat.* is missing",
        [_on(AuditRelay, "run_once", _forget_first)],
    ),
    Mutant(
        "no memory of Idempotency-Keys",
        "was answered",
        [_on(IdempotentRequests, "run", _run_each_time)],
    ),
    Mutant(
        "a booking's id at random",
        "made bk_",
        [patch("server.bookings.booking_id_for", lambda *of: "bk_" + secrets.token_hex(16))],
    ),
]
