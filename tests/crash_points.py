"""The table of steps at which a process is killed: between any two writes of the saga there is one.

Each is named by the method that is about to be called, or has just returned.
"""

from dataclasses import dataclass

from tests.crashing import When

BOOKINGS = "server.repo.bookings:BookingRepo"
CLAIMS = "server.repo.claims:ClaimStore"
SEATS = "server.repo.seats:SeatStore"
ANSWERS = "server.repo.idempotency:IdempotencyRepo"
PROVIDER = "server.payments.demo:DemoProvider"
SHOWTIMES = "server.repo.showtimes:ShowtimeRepo"
OUTBOX = "server.repo.outbox:Outbox"
CHAIN = "server.repo.audit_logs:AuditLogRepo"
SEAT_LOG = "server.repo.seat_log:SeatLog"

SHORTER = {
    "server.repo.bookings:PAY_SECONDS": 2,
    "server.repo.idempotency:LEASE_SECONDS": 2,
    "server.idempotency:LEASE_SECONDS": 2,
    "server.repo.claims:_REBUILD_LEASE_MS": 1500,
    "server.audit:_LEASE_SECONDS": 2,
    "server.audit:_ASK_SECONDS": 0.5,
}
"""Deadlines that a crash has to be outlived by, cut short; locks are by SEAT_LOCK_TTL."""


@dataclass(frozen=True, slots=True)
class Point:
    """`calls` is how often the story surely calls the step. `in_background`: a worker does it."""

    when: When
    step: str
    story: str
    calls: int = 4
    in_background: bool = False

    @property
    def name(self) -> str:
        return f"{self.story}: {self.when} {self.step.partition(':')[2]}"


def _in_requests() -> list[Point]:
    def both(step: str, story: str, calls: int = 4) -> list[Point]:
        return [Point("before", step, story, calls), Point("after", step, story, calls)]

    return [
        *both(f"{SEATS}.lock", "buy"),
        *both(f"{SEATS}.extend", "locks"),
        *both(f"{SEATS}.release", "locks", 8),
        *both(f"{SEATS}.revoke", "revoke"),
        *both(f"{OUTBOX}.add_logged", "locks", 3),
        Point("after", f"{ANSWERS}.begin", "buy", 8),
        *both(f"{ANSWERS}.finish", "buy", 8),
        Point("after", f"{ANSWERS}.begin", "pay again"),
        *both(f"{CLAIMS}.begin_checkout", "buy"),
        *both(f"{BOOKINGS}.insert", "buy"),
        *both(f"{BOOKINGS}.insert", "vanish", 1),
        *both(f"{PROVIDER}.create_intent", "buy"),
        *both(f"{BOOKINGS}.start_payment", "buy"),
        *both(f"{PROVIDER}.confirm", "buy"),
        *both(f"{BOOKINGS}.confirm", "buy"),
        *both(f"{CLAIMS}.claim", "buy", 8),
        *both(f"{BOOKINGS}.seats_shown", "buy", 8),
        *both(f"{PROVIDER}.confirm", "declined"),
        *both(f"{BOOKINGS}.decline", "declined"),
        *both(f"{PROVIDER}.confirm", "unsure"),
        *both(f"{PROVIDER}.confirm", "late"),
        *both(f"{BOOKINGS}.cancel", "cancel"),
        *both(f"{CLAIMS}.release", "cancel"),
        *both(f"{PROVIDER}.refund", "cancel"),
        *both(f"{BOOKINGS}.refunded", "cancel"),
        *both(f"{BOOKINGS}.cancel", "cancel unpaid"),
        *both(f"{BOOKINGS}.give_back", "give back"),
        *both(f"{CLAIMS}.give_back", "give back"),
        *both(f"{BOOKINGS}.refunded", "give back"),
        *both(f"{SHOWTIMES}.cancel", "house", 1),
        *both(f"{OUTBOX}.add", "house", 1),
        *both(f"{SHOWTIMES}.recorded", "house", 1),
        *both(f"{CLAIMS}.begin_rebuild", "loss", 1),
        *both(f"{CLAIMS}.rebuild", "loss", 1),
    ]


def _in_background() -> list[Point]:
    def both(step: str, story: str, calls: int = 4) -> list[Point]:
        return [Point(w, step, story, calls, in_background=True) for w in ("before", "after")]

    return [
        *both(f"{SEATS}.expire", "lapse"),
        *both(f"{BOOKINGS}.expire", "walk away"),
        *both(f"{CLAIMS}.release", "walk away"),
        *both(f"{PROVIDER}.cancel", "unsure"),
        *both(f"{BOOKINGS}.confirm", "unsure"),
        *both(f"{CLAIMS}.claim", "unsure"),
        *both(f"{PROVIDER}.cancel", "late"),
        *both(f"{PROVIDER}.cancel", "failing"),
        *both(f"{BOOKINGS}.expire_unpaid", "failing"),
        *both(f"{SEATS}.close", "house", 1),
        *both(f"{BOOKINGS}.cancel", "house", 2),
        *both(f"{SEATS}.block", "house", 1),
        *both(f"{SHOWTIMES}.cancelled_whole", "house", 1),
        *both(f"{CHAIN}.append", "buy", 1),
        *both(f"{BOOKINGS}.audited", "buy", 1),
        *both(f"{SEAT_LOG}.forget", "buy", 1),
        *both(f"{CHAIN}.append", "sign in", 1),
        *both(f"{OUTBOX}.remove", "sign in", 1),
    ]


POINTS = [*_in_requests(), *_in_background()]

STEPS = sorted({point.step for point in POINTS})
