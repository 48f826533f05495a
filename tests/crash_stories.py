"""What customers do while a process dies: each story leads several of them over the same steps.

`prepare` comes before the trap is armed, `act` after. Stories only act; what must hold afterwards
is said once, for all of them, in `tests.aftermath`.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic

from tests.customers import Ack, Customer
from tests.stored import Stored

PAIRS = (("A1", "A2"), ("A3", "A4"), ("B1", "B2"), ("B3", "B4"))
"""One pair for each customer."""

_ENVY_SECONDS = 6.0
"""Longer than an unpaid booking keeps its seats here."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A showtime of its own, and people who come for it. `flighty` ones ask once and go away; the
    `rival` wants what others have."""

    stored: Stored
    showtime: str
    customers: list[Customer]
    flighty: list[Customer]
    rival: Customer
    admin: Customer
    chance: random.Random
    audited: Callable[[], Awaitable[None]]
    """Waits until the audit log has all that happened."""

    async def each(self, do: Callable[[Customer, str, str], Awaitable[object]]) -> None:
        """Let all customers do the same at the same time, each with seats of its own."""

        async def one(customer: Customer, seats: tuple[str, str]) -> None:
            await asyncio.sleep(self.chance.uniform(0, 0.02))
            await do(customer, *seats)

        await asyncio.gather(*(one(c, s) for c, s in zip(self.customers, PAIRS, strict=True)))


Act = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Story:
    act: Act
    prepare: Act | None = None


async def _booked(scene: Scene, customer: Customer, *seats: str) -> str:
    created = await customer.create(scene.showtime, *seats)
    return created.booking if created else ""


async def _paid(scene: Scene, customer: Customer, *seats: str) -> str:
    if booking := await _booked(scene, customer, *seats):
        await customer.pay(booking)
    return booking


def _of(customer: Customer) -> list[Ack]:
    return [a for a in customer.ledger.of("create", 201) if a.user == customer.user]


async def buy(scene: Scene) -> None:
    """Lock, book and pay; every payment is sent twice at the same time, as by an eager client."""

    async def one(customer: Customer, *seats: str) -> None:
        await customer.lock(scene.showtime, *seats)
        created = await customer.create(scene.showtime, *seats)
        if created and created.booking:
            key = f"pay-{created.key}"
            twins = (customer.pay(created.booking, key=key) for _ in range(2))
            await asyncio.gather(*twins)

    await scene.each(one)


async def pay_for_all(scene: Scene) -> None:
    await scene.each(lambda customer, *seats: _paid(scene, customer, *seats))


async def book_only(scene: Scene) -> None:
    await scene.each(lambda customer, *seats: _booked(scene, customer, *seats))


async def walk_away(scene: Scene) -> None:
    """Book and do not pay; somebody else waits for the seats."""

    async def one(customer: Customer, *seats: str) -> None:
        if await _booked(scene, customer, *seats):
            await _buy_once_free(scene, *seats)

    await scene.each(one)


async def pay_again(scene: Scene) -> None:
    """Send the payment that was answered already once more, under its key."""

    async def one(customer: Customer, *_: str) -> None:
        for ack in customer.ledger.of("pay", 200):
            if ack.user == customer.user:
                await customer.again(ack)

    await scene.each(one)


async def vanish(scene: Scene) -> None:
    """Book, and never come back when that is not answered."""
    pairs = zip(scene.flighty, PAIRS, strict=True)
    await asyncio.gather(*(who.create(scene.showtime, *seats) for who, seats in pairs))


def paying_with(method: str, then: str = "") -> Act:
    async def act(scene: Scene) -> None:
        async def one(customer: Customer, *seats: str) -> None:
            if booking := await _booked(scene, customer, *seats):
                await customer.pay(booking, method)
                if then:
                    await customer.pay(booking, then)

        await scene.each(one)

    return act


def cancelling(*places: int) -> Act:
    """Cancel the booking, whole or those of its seats; every request is sent twice at once.

    Whoever comes first gets what has become free, before the old owner's server is back perhaps.
    """

    async def act(scene: Scene) -> None:
        async def one(customer: Customer, *_: str) -> None:
            for ack in _of(customer):
                seats = [ack.seats[place] for place in places]
                twins = (customer.cancel(ack.booking, *seats) for _ in range(2))
                next_one = _buy_once_free(scene, *(seats or ack.seats))
                await asyncio.gather(*twins, next_one)

        await scene.each(one)

    return act


async def _buy_once_free(scene: Scene, *seats: str) -> None:
    """Try again and again, for a while, to get these seats."""
    give_up = monotonic() + _ENVY_SECONDS
    while monotonic() < give_up:
        locked = await scene.rival.lock(scene.showtime, *seats)
        if locked is None or locked.status == 200:
            await _paid(scene, scene.rival, *seats)
            return
        await asyncio.sleep(0.05)


async def lock_all(scene: Scene) -> None:
    await scene.each(lambda customer, *seats: customer.lock(scene.showtime, *seats))


async def lock_extend_release(scene: Scene) -> None:
    async def one(customer: Customer, *seats: str) -> None:
        await customer.lock(scene.showtime, *seats)
        await customer.extend(scene.showtime)
        await customer.release(scene.showtime, seats[0])
        await customer.release(scene.showtime)

    await scene.each(one)


async def revoke(scene: Scene) -> None:
    path = f"/api/showtimes/{scene.showtime}/seats/locks?seats="
    for seats in PAIRS:
        await scene.admin.ask("revoke", "DELETE", path + ",".join(seats), seats=seats)


async def fail_to_sign_in(scene: Scene) -> None:
    """Acts that stand in the audit log and nowhere else."""
    path = "/api/auth/google/callback?state=of-nobody&code=none"
    await scene.each(lambda customer, *_: customer.ask("sign-in", "GET", path))


async def half_sold(scene: Scene) -> None:
    """One has paid, one has not, one has a lock, one has given up a payment."""
    one, two, three, four = scene.customers
    await _paid(scene, one, *PAIRS[0])
    await _booked(scene, two, *PAIRS[1])
    await three.lock(scene.showtime, *PAIRS[2])
    if booking := await _booked(scene, four, *PAIRS[3]):
        await four.pay(booking, "demo:timeout")


async def cancel_by_house(scene: Scene) -> None:
    """Order it again until it is done."""
    path = f"/api/admin/showtimes/{scene.showtime}/cancel"
    for _ in range(100):
        ack = await scene.admin.ask("house", "POST", path, {"why": "The roof leaks."})
        if ack is None or ack.status != 202:
            return
        await asyncio.sleep(0.2)


async def sold_and_audited(scene: Scene) -> None:
    one, two, *_ = scene.customers
    await _paid(scene, one, *PAIRS[0])
    await _booked(scene, two, *PAIRS[1])
    await scene.audited()


async def buy_after_a_loss(scene: Scene) -> None:
    """Redis loses everything; the next who come bring the showtime back."""
    await scene.stored.redis.flushdb()
    *_, three, four = scene.customers
    await asyncio.gather(_paid(scene, three, *PAIRS[2]), _paid(scene, four, *PAIRS[3]))


STORIES = {
    "buy": Story(buy),
    "pay again": Story(pay_again, pay_for_all),
    "walk away": Story(walk_away),
    "vanish": Story(vanish),
    "declined": Story(paying_with("demo:decline", "demo:approve")),
    "unsure": Story(paying_with("demo:timeout")),
    "late": Story(paying_with("demo:late")),
    "failing": Story(paying_with("demo:error")),
    "cancel": Story(cancelling(), pay_for_all),
    "cancel unpaid": Story(cancelling(), book_only),
    "give back": Story(cancelling(1), pay_for_all),
    "locks": Story(lock_extend_release),
    "lapse": Story(lock_all),
    "revoke": Story(revoke, lock_all),
    "sign in": Story(fail_to_sign_in),
    "house": Story(cancel_by_house, half_sold),
    "loss": Story(buy_after_a_loss, sold_and_audited),
}
