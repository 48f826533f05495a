"""The way of a mail by hand: what is to be told is taken over, claimed, sent and recorded."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest_asyncio

from server.booking import SYSTEM, Booking, entry_of
from server.catalogue import Layout, Row, Seat
from server.correspondence import Correspondence
from server.etickets import TicketCodes
from server.letters import Letters
from server.mail import Mail, Mailer
from server.metrics import Metrics
from server.models import Money, Role, new_id
from server.notices import Notices
from server.notifications import Notifier
from server.repo.bookings import BookingRepo
from server.repo.cinemas import CinemaRepo
from server.repo.layouts import LayoutRepo
from server.repo.mongo import Document
from server.repo.notifications import NotificationRepo
from server.repo.outbox import Outbox
from server.repo.showtimes import ShowtimeRepo
from server.repo.users import User, Users
from server.showtimes import Showtimes
from tests.auth_flow import JWT_SECRET
from tests.programme import Clock
from tests.running import plan
from tests.stored import Stored

SENDER = "Cinéma <tickets@cinema.test>"
ORIGIN = "https://cinema.test"
LONG_AGO = datetime.fromtimestamp(0, UTC)
ROW_OF_100 = Layout((Row("A", tuple(Seat(f"A{n}", n - 1) for n in range(1, 101))),))


class Pauses:
    """The longest wait that may be, every time; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, float, float]] = []

    def __call__(self, failures: int, low: float, high: float) -> float:
        self.asked.append((failures, low, high))
        return high


@dataclass(frozen=True, slots=True)
class PostOffice:
    stored: Stored
    notices: Notices
    notifier: Notifier
    notifications: NotificationRepo
    bookings: BookingRepo
    clock: Clock
    pauses: Pauses
    metrics: Metrics

    async def run(self) -> int:
        """Take over what is flagged, send what is due; returns how many arrived meanwhile."""
        before = await self._sent()
        await self.notices.run_once()
        await self.deliver()
        return await self._sent() - before

    async def deliver(self) -> None:
        """Send what is due, and wait for it. Raises what a delivery raised."""
        async with asyncio.timeout(30):
            for _ in range(2):
                await self.notifier.run_once()
                await self.notifier.drain(10)

    async def _sent(self) -> int:
        return await self.stored.database["notifications"].count_documents({"status": "sent"})


def post_office(stored: Stored, mailer: Mailer, percent: int = 90, **changed: Any) -> PostOffice:
    """Put one together; `notifications`, `bookings` and `correspondence` may be replaced."""
    database = stored.database
    notifications = changed.get("notifications") or NotificationRepo(database)
    bookings = changed.get("bookings") or BookingRepo(database)
    showtimes = Showtimes(ShowtimeRepo(database, LayoutRepo(database)), CinemaRepo(database))
    users, outbox, clock, pauses = Users(database), Outbox(database), Clock(), Pauses()
    metrics, letters = Metrics(), Letters(TicketCodes(JWT_SECRET), SENDER, ORIGIN)
    notices = Notices(notifications, bookings, showtimes, users, outbox, percent)
    correspondence = Correspondence(letters, bookings, showtimes, users)
    notifier = Notifier(
        notifications,
        correspondence,
        mailer,
        outbox,
        metrics,
        pause=pauses,
        timer=lambda: clock.seconds,
    )
    return PostOffice(stored, notices, notifier, notifications, bookings, clock, pauses, metrics)


class Crash(BaseException):
    """The process ends here."""


class Recorded:
    """A mailer that keeps what it is given; `then` comes after a mail was taken."""

    def __init__(self, *then: BaseException) -> None:
        self.mails: list[Mail] = []
        self.then = list(then)

    async def send(self, mail: Mail) -> None:
        self.mails.append(mail)
        if self.then:
            raise self.then.pop(0)

    @property
    def names(self) -> list[str]:
        return [mail.name for mail in self.mails]


async def somebody(
    stored: Stored, name: str = "Bob", role: Role = "USER", email: str | None = None
) -> User:
    user = User(new_id("usr"), email or f"{name.lower()}@example.com", name, role)
    row: Document = {"_id": user.id, "email": user.email, "name": name, "role": role}
    await stored.database["users"].insert_one(row | {"provider": "test", "sub": user.id})
    return user


async def sold(stored: Stored, showtime_id: str, seats: Sequence[str], buyer: User) -> Booking:
    """Store a sale, as the saga leaves it in MongoDB."""
    repo, now = BookingRepo(stored.database), datetime.now(UTC)
    booking = Booking(
        id=new_id("bk"),
        showtime_id=showtime_id,
        user_id=buyer.id,
        seats=list(seats),
        status="pending",
        amount=Money(currency="EUR", minor=1000 * len(seats)),
        prices=dict.fromkeys(seats, 1000),
        created_at=now,
        expires_at=now.replace(year=now.year + 1),
        remaining_ms=1,
        claims=True,
    )
    await repo.insert(booking, entry_of("booking.created", SYSTEM))
    paying = await repo.start_payment(booking, f"{booking.id}-1", [])
    assert paying
    confirmed = await repo.confirm(paying, [entry_of("booking.confirmed", SYSTEM)])
    assert confirmed
    return confirmed


async def one_sale(stored: Stored, *seats: str, **person: str) -> Booking:
    """Sell some seats of a new showtime (A1 when none are named) to a new person."""
    buyer = await somebody(stored, **person)  # type: ignore[arg-type]
    return await sold(stored, await plan(stored.database), seats or ("A1",), buyer)


async def sold_out(stored: Stored, buyer: User, count: int = 100) -> list[Booking]:
    """Sell a hall of a hundred seats, or a part of it, seat by seat."""
    showtime = await plan(stored.database, layout=ROW_OF_100)
    return [await sold(stored, showtime, [f"A{n}"], buyer) for n in range(1, count + 1)]


async def notifications_of(stored: Stored, about: str) -> dict[str, Document]:
    """Notice -> row of everything that somebody is to be told of it."""
    rows = stored.database["notifications"].find({"about": about})
    return {row["notice"]: row async for row in rows}


async def let_claims_lapse(stored: Stored) -> None:
    """Let the time of every claim and of every wait be over."""
    due = {"status": "due"}
    await stored.database["notifications"].update_many(due, {"$set": {"next_at": LONG_AGO}})


async def alerts(stored: Stored) -> list[Document]:
    """What the audit log is to hear of errors."""
    rows = stored.database["audit_outbox"].find({"action": "system.error"})
    return await rows.sort("_id", 1).to_list(None)


def emptied() -> Any:
    """Return a fixture: after each test of a module, what it has sold and told is gone."""

    @pytest_asyncio.fixture(autouse=True, loop_scope="module")
    async def fixture(stored: Stored) -> AsyncIterator[None]:
        yield
        for name in ("notifications", "bookings", "audit_outbox", "users"):
            await stored.database[name].delete_many({})

    return fixture
