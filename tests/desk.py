"""The booking saga by hand: put together without a server, with a provider that can be watched."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from server.booking import Booking
from server.booking_image import BookingImage
from server.bookings import BookingSaga
from server.cancellations import Cancellations
from server.house_cancellations import HouseCancellations
from server.metrics import Metrics
from server.models import Caller, Money, new_id
from server.payments import Outcome, PaymentProvider
from server.payments.demo import DemoProvider
from server.rebuild import Rebuilder
from server.reconciler import Reconciler
from server.repo.bookings import BookingRepo
from server.repo.cinemas import CinemaRepo
from server.repo.claims import ClaimStore
from server.repo.demo_payments import DemoPaymentRepo
from server.repo.layouts import LayoutRepo
from server.repo.outbox import Outbox
from server.repo.redis import Scripts
from server.repo.seats import SeatStore
from server.repo.showtimes import ShowtimeRepo
from server.seats import SeatLocks
from server.settlement import Settlement
from server.showtimes import Showtimes
from tests.stored import Stored

ANN, BEN, CAT = (Caller(user_id, f"req_of_{user_id}") for user_id in ("ann", "ben", "cat"))

Hook = Callable[[], Awaitable[None]]


class Watched:
    """The demo provider; `before` and `after` a step something else may happen, or go wrong."""

    def __init__(self, stored: Stored) -> None:
        self._provider = DemoProvider(DemoPaymentRepo(stored.database))
        self.steps: list[str] = []
        self.before: dict[str, Hook] = {}
        self.after: dict[str, Hook] = {}

    def accepts(self, method: str) -> bool:
        return self._provider.accepts(method)

    async def create_intent(self, key: str, amount: Money, method: str) -> str:
        return await self._step("create_intent", self._provider.create_intent(key, amount, method))

    async def confirm(self, intent_id: str) -> Outcome:
        return await self._step("confirm", self._provider.confirm(intent_id))

    async def cancel(self, intent_id: str) -> Outcome:
        return await self._step("cancel", self._provider.cancel(intent_id))

    async def get(self, intent_id: str) -> Outcome | None:
        return await self._step("get", self._provider.get(intent_id))

    async def refund(self, intent_id: str, key: str, amount: Money) -> None:
        await self._step("refund", self._provider.refund(intent_id, key, amount))

    async def _step(self, name: str, work: Any) -> Any:
        self.steps.append(name)
        try:
            if hook := self.before.get(name):
                await hook()
            answer = await work
        finally:
            work.close()
        if hook := self.after.get(name):
            await hook()
        return answer


@dataclass(frozen=True, slots=True)
class Desk:
    saga: BookingSaga
    image: BookingImage
    reconciler: Reconciler
    cancellations: Cancellations
    house: HouseCancellations
    metrics: Metrics
    bookings: BookingRepo
    claims: ClaimStore
    locks: SeatLocks

    async def pending(self, showtime_id: str, *seats: str, caller: Caller = ANN) -> Booking:
        return await self.saga.create(caller, showtime_id, list(seats), new_id("key"))

    async def reconcile(self) -> None:
        """One round of all that the background work does for bookings."""
        await self.reconciler.run_once()
        await self.reconciler.settle_once()
        await self.house.run_once()

    async def pay(self, booking: Booking, method: str = "demo:approve") -> Booking:
        caller = Caller(booking.user_id, "req_of_payment")
        return await self.saga.pay(caller, booking.id, method, new_id("key"))


def desk(stored: Stored, provider: PaymentProvider | None = None, **changed: Any) -> Desk:
    """Compose the saga on `stored`; `bookings`, `claims` and `locks` may be replaced."""
    database, scripts = stored.database, Scripts(stored.redis)
    provider = provider or DemoProvider(DemoPaymentRepo(database))
    bookings = changed.get("bookings") or BookingRepo(database)
    claims = changed.get("claims") or ClaimStore(scripts)
    showtimes = Showtimes(ShowtimeRepo(database, LayoutRepo(database)), CinemaRepo(database))
    rebuilder = Rebuilder(claims, bookings, showtimes)
    seat_store = SeatStore(stored.redis, scripts, ttl_seconds=300, max_seats_per_user=10)
    locks = SeatLocks(seat_store, showtimes, rebuilder)
    metrics = Metrics()
    image = BookingImage(bookings, claims, rebuilder)
    settlement = Settlement(bookings, image, provider, metrics)
    saga = BookingSaga(bookings, claims, locks, showtimes, rebuilder, image, settlement, provider)
    reconciler = Reconciler(settlement, image, bookings, claims)
    cancellations = Cancellations(
        bookings, showtimes, image, settlement, changed.get("refund_hours", 0)
    )
    house = HouseCancellations(
        ShowtimeRepo(database, LayoutRepo(database)),
        showtimes,
        bookings,
        seat_store,
        rebuilder,
        cancellations,
        Outbox(database),
    )
    return Desk(saga, image, reconciler, cancellations, house, metrics, bookings, claims, locks)
