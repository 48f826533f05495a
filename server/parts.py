"""What a server and a worker have in common, put together in one place."""

import asyncio
import logging
from dataclasses import dataclass

from server.audit import AuditRelay
from server.booking_image import BookingImage
from server.booking_lists import BookingLists
from server.bookings import BookingSaga
from server.build_info import Build, build_now
from server.cancellations import Cancellations
from server.correspondence import Correspondence
from server.etickets import Etickets, TicketCodes
from server.house_cancellations import HouseCancellations
from server.image_repair import ImageRepair
from server.letters import Letters
from server.lock_sweeper import INTERVAL_SECONDS, LockSweeper
from server.mail import Mailer, mailer_for
from server.metrics import Metrics
from server.movies import Movies
from server.notices import Notices
from server.notifications import Notifier
from server.payments.build import Payments, build_payments
from server.rate_limits import RateLimits, seats_per_address
from server.realtime.backoff import pause
from server.rebuild import Rebuilder
from server.reconciler import Reconciler
from server.repo import mongo, redis
from server.repo.audit_logs import AuditLogRepo
from server.repo.booking_lists import BookingListRepo
from server.repo.bookings import BookingRepo
from server.repo.cinemas import CinemaRepo
from server.repo.claims import ClaimStore
from server.repo.layouts import LayoutRepo
from server.repo.leases import LeaseRepo
from server.repo.movies import MovieRepo
from server.repo.notifications import NotificationRepo
from server.repo.outbox import Outbox
from server.repo.rate_limits import TokenBuckets
from server.repo.seat_journal import SeatJournal
from server.repo.seat_log import SeatLog
from server.repo.seats import SeatStore
from server.repo.showtimes import ShowtimeRepo
from server.repo.store_runs import StoreRunRepo
from server.repo.users import Users
from server.repo.webhook_events import WebhookEventRepo
from server.seats import SeatLocks
from server.settings import Settings
from server.settlement import Settlement
from server.showtimes import Showtimes
from server.socket_caps import SocketCaps
from server.webhook_events import WebhookEvents
from server.workers import Job, Workers

logger = logging.getLogger("rowlock.app")

RECONCILE_SECONDS = 1.0
RELAY_SECONDS = 0.25
NOTIFY_SECONDS = 0.5
DRAIN_SECONDS = 5.0
"""How long what is under way may take to end when the process does."""
LET_GO_SECONDS = 1.0
"""How long a lease may take to be let go; it ends by itself soon after."""
_AWAY: tuple[type[Exception], ...] = (TimeoutError, *mongo.UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a server and a worker have in common."""

    redis: redis.Redis
    database: mongo.Database
    journal_database: mongo.Database
    """The same, as the seat journal reaches it."""
    movies: Movies
    showtimes: Showtimes
    seat_store: SeatStore
    rebuilder: Rebuilder
    locks: SeatLocks
    saga: BookingSaga
    booking_lists: BookingLists
    payments: Payments
    webhooks: WebhookEvents | None
    cancellations: Cancellations
    house: HouseCancellations
    build: Build
    metrics: Metrics
    limits: RateLimits
    socket_caps: SocketCaps | None
    relay: AuditRelay
    etickets: Etickets
    mailer: Mailer | None
    notifier: Notifier | None
    workers: Workers

    async def stop(self) -> None:
        """Stop the background work and leave the stores."""
        try:
            await self.workers.stop()
            if self.notifier:
                await self.notifier.drain(DRAIN_SECONDS)
            await self._let_go()
        finally:
            await self.payments.close()
            await self.redis.aclose()
            await mongo.leave(self.database)
            await mongo.leave(self.journal_database)

    async def _let_go(self) -> None:
        """Let another process relay at once."""
        try:
            async with asyncio.timeout(LET_GO_SECONDS):
                await self.relay.stop()
        except _AWAY:
            logger.warning("MongoDB is away: the lease of the audit relay ends by itself")


def build_parts(settings: Settings) -> Parts:
    """Connect the stores (lazily) and compose the services on top of them."""
    build = build_now()
    metrics = Metrics(build)
    client = redis.connect(settings.redis_url, metrics.scripts.sent)
    database = mongo.connect(settings.mongo_uri)
    journal_database = mongo.connect_in_loop(settings.mongo_uri)
    outbox = Outbox(database)
    scripts = redis.Scripts(client, metrics.scripts.ended)
    store = SeatStore(
        client,
        scripts,
        ttl_seconds=settings.seat_lock_ttl,
        max_seats_per_user=settings.max_seats_per_user,
        max_seats_per_address=seats_per_address(settings),
        journal=SeatJournal(Outbox(journal_database)),
    )
    claims, bookings = ClaimStore(scripts), BookingRepo(database)
    planned = ShowtimeRepo(database, LayoutRepo(database))
    showtimes = Showtimes(planned, CinemaRepo(database))
    rebuilder = Rebuilder(claims, bookings, showtimes)
    locks = SeatLocks(store, showtimes, rebuilder)
    payments = build_payments(settings, database)
    provider = payments.provider
    image = BookingImage(bookings, claims, rebuilder)
    settlement = Settlement(bookings, image, provider, metrics)
    read = payments.read_webhook
    webhooks = WebhookEvents(read, WebhookEventRepo(database), settlement.hear) if read else None
    cancellations = Cancellations(bookings, showtimes, image, settlement, settings.refund_hours)
    house = HouseCancellations(
        planned, showtimes, bookings, store, rebuilder, cancellations, outbox
    )
    saga = BookingSaga(bookings, claims, locks, showtimes, rebuilder, image, settlement, provider)
    reconciler = Reconciler(settlement, image, bookings, claims)
    repair = ImageRepair(planned, bookings, claims, image, StoreRunRepo(database))
    logs, users = AuditLogRepo(database), Users(database)
    relay = AuditRelay(logs, SeatLog(client), bookings, outbox, users, LeaseRepo(database))
    notified, percent = NotificationRepo(database), settings.almost_sold_out_percent
    notices = Notices(notified, bookings, showtimes, users, outbox, percent)
    codes = TicketCodes(*settings.secrets)
    letters = Letters(codes, settings.mail_from, settings.origin)
    correspondence = Correspondence(letters, bookings, showtimes, users)
    mailer = mailer_for(settings)
    notifier = (
        Notifier(notified, correspondence, mailer, outbox, metrics, pause=pause) if mailer else None
    )
    limited = settings.rate_limits == "on"
    jobs = [
        Job("lock sweeper", LockSweeper(store).run_once, INTERVAL_SECONDS),
        Job("reconciler", reconciler.run_once, RECONCILE_SECONDS),
        Job("image repair", repair.run_once, RECONCILE_SECONDS),
        Job("payments", reconciler.settle_once, RECONCILE_SECONDS),
        Job("house cancellations", house.run_once, RECONCILE_SECONDS),
        Job("audit relay", relay.run_once, RELAY_SECONDS),
        Job("notices", notices.run_once, NOTIFY_SECONDS),
    ]
    if notifier:
        jobs.append(Job("notifier", notifier.run_once, NOTIFY_SECONDS))
    else:
        logger.warning("SMTP_URL is not set: no mail is sent, what is to be told waits")
    return Parts(
        redis=client,
        database=database,
        journal_database=journal_database,
        movies=Movies(MovieRepo(database)),
        showtimes=showtimes,
        seat_store=store,
        rebuilder=rebuilder,
        locks=locks,
        saga=saga,
        booking_lists=BookingLists(BookingListRepo(database), showtimes, users, outbox),
        payments=payments,
        webhooks=webhooks,
        cancellations=cancellations,
        house=house,
        build=build,
        metrics=metrics,
        limits=RateLimits(TokenBuckets(scripts) if limited else None),
        socket_caps=SocketCaps(development=settings.is_development) if limited else None,
        relay=relay,
        etickets=Etickets(bookings, showtimes, codes, settings.origin),
        mailer=mailer,
        notifier=notifier,
        workers=Workers(jobs, mongo.UNAVAILABLE),
    )
