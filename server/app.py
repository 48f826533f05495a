"""The composition root: everything that Rowlock is made of, put together in one place."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from server.api.admin import AdminRoutes
from server.api.audit_live import AuditLiveRoutes
from server.api.auth import AuthRoutes
from server.api.bookings import BookingRoutes
from server.api.cancellations import CancellationRoutes
from server.api.cors import CorsForPages
from server.api.development_mails import DevelopmentMailRoutes
from server.api.etickets import EticketRoutes
from server.api.frontend import page_routes
from server.api.health import HealthRoutes
from server.api.middleware import RequestEnvelope
from server.api.movies import MovieRoutes
from server.api.payments import PaymentRoutes
from server.api.problems import exception_handlers
from server.api.seats import SeatRoutes
from server.api.showtimes import ShowtimeRoutes
from server.audit import AuditFeed, AuditRelay
from server.audit_tail import AuditTail
from server.auth.build import Auth, build_auth
from server.booking_image import BookingImage
from server.bookings import BookingSaga
from server.cancellations import Cancellations
from server.catalogue import Layout
from server.check import InvariantCheck
from server.correspondence import Correspondence
from server.detached import Detached
from server.etickets import Etickets, TicketCodes
from server.house_cancellations import HouseCancellations
from server.idempotency import IdempotentRequests
from server.image_repair import ImageRepair
from server.letters import Letters
from server.lock_sweeper import INTERVAL_SECONDS, LockSweeper
from server.mail import FileMailer, Mailer, mailer_for
from server.metrics import Metrics
from server.movies import Movies
from server.notices import Notices
from server.notifications import Notifier
from server.payments.build import Payments, build_payments, ledger_of
from server.realtime.backoff import pause
from server.realtime.hub import Hub
from server.realtime.live import LiveRoutes
from server.realtime.protocol import abort
from server.rebuild import Rebuilder
from server.reconciler import Reconciler
from server.repo import mongo, redis
from server.repo.audit_logs import AuditLogRepo
from server.repo.bookings import BookingRepo
from server.repo.cinemas import CinemaRepo
from server.repo.claims import ClaimStore
from server.repo.idempotency import IdempotencyRepo
from server.repo.layouts import LayoutRepo
from server.repo.leases import LeaseRepo
from server.repo.movies import MovieRepo
from server.repo.notifications import NotificationRepo
from server.repo.outbox import Outbox
from server.repo.seat_answers import SeatStates
from server.repo.seat_journal import SeatJournal
from server.repo.seat_log import SeatLog
from server.repo.seats import SeatStore
from server.repo.showtimes import ShowtimeRepo
from server.repo.users import Users
from server.repo.webhook_events import WebhookEventRepo
from server.seat_maps import SeatMaps
from server.seats import SeatLocks
from server.settings import Settings
from server.settlement import Settlement
from server.showtimes import Showtimes
from server.webhook_events import WebhookEvents
from server.workers import Job, Workers

logger = logging.getLogger("rowlock.app")

RECONCILE_SECONDS = 1.0
RELAY_SECONDS = 0.25
NOTIFY_SECONDS = 0.5
DRAIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What a server and a worker have in common."""

    redis: redis.Redis
    database: mongo.Database
    movies: Movies
    showtimes: Showtimes
    seat_store: SeatStore
    rebuilder: Rebuilder
    locks: SeatLocks
    saga: BookingSaga
    payments: Payments
    webhooks: WebhookEvents | None
    cancellations: Cancellations
    house: HouseCancellations
    metrics: Metrics
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
            await self.relay.stop()
        except mongo.UNAVAILABLE:
            logger.warning("MongoDB is away: the lease of the audit relay ends by itself")
        finally:
            await self.payments.close()
            await self.redis.aclose()
            self.database.client.close()


def build_parts(settings: Settings) -> Parts:
    """Connect the stores (lazily) and compose the services on top of them."""
    client, database = redis.connect(settings.redis_url), mongo.connect(settings.mongo_uri)
    scripts = redis.Scripts(client)
    metrics, outbox = Metrics(), Outbox(database)
    store = SeatStore(
        client,
        scripts,
        ttl_seconds=settings.seat_lock_ttl,
        max_seats_per_user=settings.max_seats_per_user,
        journal=SeatJournal(outbox),
    )
    claims, bookings = ClaimStore(scripts), BookingRepo(database)
    showtimes = Showtimes(ShowtimeRepo(database, LayoutRepo(database)), CinemaRepo(database))
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
        ShowtimeRepo(database, LayoutRepo(database)),
        showtimes,
        bookings,
        store,
        rebuilder,
        cancellations,
        outbox,
    )
    saga = BookingSaga(bookings, claims, locks, showtimes, rebuilder, image, settlement, provider)
    reconciler = Reconciler(settlement, image, bookings, claims)
    repair = ImageRepair(ShowtimeRepo(database, LayoutRepo(database)), bookings, claims, image)
    relay = AuditRelay(
        AuditLogRepo(database),
        SeatLog(client),
        bookings,
        outbox,
        Users(database),
        LeaseRepo(database),
    )
    codes = TicketCodes(settings.jwt_secret.get_secret_value())
    notices = Notices(
        NotificationRepo(database),
        bookings,
        showtimes,
        Users(database),
        outbox,
        settings.almost_sold_out_percent,
    )
    letters = Letters(codes, settings.mail_from, settings.origin)
    correspondence = Correspondence(letters, bookings, showtimes, Users(database))
    mailer = mailer_for(settings)
    notifier = (
        Notifier(NotificationRepo(database), correspondence, mailer, outbox, metrics, pause=pause)
        if mailer
        else None
    )
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
        movies=Movies(MovieRepo(database)),
        showtimes=showtimes,
        seat_store=store,
        rebuilder=rebuilder,
        locks=locks,
        saga=saga,
        payments=payments,
        webhooks=webhooks,
        cancellations=cancellations,
        house=house,
        metrics=metrics,
        relay=relay,
        etickets=Etickets(bookings, showtimes, codes, settings.origin),
        mailer=mailer,
        notifier=notifier,
        workers=Workers(jobs, mongo.UNAVAILABLE),
    )


def build(settings: Settings) -> Starlette:
    """Build the server; its lifespan starts and ends the background work. Stores by address."""
    parts = build_parts(settings)
    auth = build_auth(settings, parts.database)
    maps = SeatMaps(parts.seat_store, parts.showtimes, parts.rebuilder)
    hub = Hub(settings.redis_url, MirrorSource(parts, maps))
    detached = Detached()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        hub.start()
        if settings.background_work == "on":
            parts.workers.start()
        yield
        await detached.drain(DRAIN_SECONDS)
        await hub.stop()
        await parts.stop()

    cors = Middleware(
        CorsForPages,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "X-Request-ID"],
        expose_headers=["X-Request-ID", "Idempotent-Replayed", "Retry-After", "ETag"],
        allow_credentials=True,
    )
    app = Starlette(
        routes=_routes(parts, auth, maps, hub, detached),
        middleware=[Middleware(RequestEnvelope), cors],
        exception_handlers=exception_handlers(mongo.UNAVAILABLE),
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # it would build its target from the Host header
    return app


def _routes(
    parts: Parts, auth: Auth, maps: SeatMaps, hub: Hub, detached: Detached
) -> list[BaseRoute]:
    guards = auth.guards
    idempotent = IdempotentRequests(IdempotencyRepo(parts.database))
    health = HealthRoutes(
        {
            "redis": lambda: redis.answer(parts.redis.ping()),
            "mongodb": lambda: mongo.ping(parts.database),
        },
        parts.metrics,
    )
    return [
        *MovieRoutes(parts.movies).routes,
        *ShowtimeRoutes(parts.showtimes, parts.movies).routes,
        *SeatRoutes(maps, parts.locks, guards).routes,
        *LiveRoutes(hub, auth.origins.allows).routes,
        *BookingRoutes(parts.saga, parts.cancellations, idempotent, detached, guards).routes,
        *(PaymentRoutes(parts.webhooks, detached).routes if parts.webhooks else []),
        *AuthRoutes(auth.signin, auth.sessions, auth.tickets, guards, auth.origins).routes,
        *(auth.provider.routes if auth.provider else []),
        *AdminRoutes(AuditFeed(AuditLogRepo(parts.database)), guards).routes,
        *AuditLiveRoutes(
            AuditTail(AuditLogRepo(parts.database)),
            auth.tickets,
            auth.sessions,
            auth.origins.allows,
            abort,
            mongo.UNAVAILABLE,
        ).routes,
        *CancellationRoutes(
            parts.cancellations, parts.house, parts.showtimes, detached, guards
        ).routes,
        *EticketRoutes(
            parts.etickets, guards, shows_mails=isinstance(parts.mailer, FileMailer)
        ).routes,
        *(
            DevelopmentMailRoutes(parts.mailer, auth.tickets, guards).routes
            if isinstance(parts.mailer, FileMailer)
            else []
        ),
        *health.routes,
        *page_routes(),
    ]


class MirrorSource:
    """What the live map reads: drawing and states, positions, and a new epoch where need be."""

    def __init__(self, parts: Parts, maps: SeatMaps) -> None:
        self._parts = parts
        self._maps = maps

    async def states(self, showtime_id: str) -> tuple[Layout, SeatStates]:
        return await self._maps.states(showtime_id)

    async def positions(self, showtime_ids: list[str]) -> list[tuple[str, int] | None]:
        return await self._parts.seat_store.positions(showtime_ids)

    async def renew(self, showtime_id: str, stale_epoch: str) -> None:
        await self._parts.rebuilder.rebuild(showtime_id, stale_epoch)


async def run_check(settings: Settings) -> list[str]:
    """Return every promise that the stores break, a line each."""
    client, database = redis.connect(settings.redis_url), mongo.connect(settings.mongo_uri)
    check = InvariantCheck(
        ShowtimeRepo(database, LayoutRepo(database)),
        BookingRepo(database),
        ClaimStore(redis.Scripts(client)),
        AuditLogRepo(database),
        ledger_of(settings, database),
    )
    try:
        return await check.run()
    finally:
        await client.aclose()
        database.client.close()


async def run_workers(settings: Settings) -> None:
    """Do the background work alone, until cancelled."""
    parts = build_parts(settings)
    parts.workers.start()
    try:
        await parts.workers.joined()
    finally:
        await parts.stop()
