"""The composition root: the server, put together from its parts, and its commands."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from server.api.accounts import AccountRoutes
from server.api.admin import AdminRoutes
from server.api.admin_bookings import AdminBookingRoutes
from server.api.admin_health import AdminHealthRoutes
from server.api.admin_users import AdminUserRoutes
from server.api.audit_live import AuditLiveRoutes
from server.api.auth import AuthRoutes
from server.api.bookings import BookingRoutes
from server.api.box_office import BoxOfficeRoutes
from server.api.cancellations import CancellationRoutes
from server.api.cors import CorsForPages
from server.api.cross_site import CrossSiteGuard
from server.api.development_mails import DevelopmentMailRoutes
from server.api.documents import DocumentRoutes
from server.api.etickets import EticketRoutes
from server.api.frontend import page_routes
from server.api.health import HealthRoutes
from server.api.hosts import Hosts, KnownHosts
from server.api.middleware import RequestEnvelope
from server.api.movies import MovieRoutes
from server.api.payments import PaymentRoutes
from server.api.problems import exception_handlers
from server.api.rate_limits import RateLimiting
from server.api.seats import SeatRoutes
from server.api.security_headers import security_headers
from server.api.sessions import SessionRoutes
from server.api.showtimes import ShowtimeRoutes
from server.api.well_known import WellKnownRoutes
from server.audit import AuditFeed
from server.audit_tail import AuditTail
from server.auth.build import Auth, build_auth
from server.auth.refresh_cookie import REFRESH_COOKIE
from server.catalogue import Layout
from server.check import InvariantCheck
from server.detached import Detached, end
from server.health import Health
from server.idempotency import IdempotentRequests
from server.mail import FileMailer
from server.parts import DRAIN_SECONDS, Parts, build_parts
from server.payments.build import ledger_of
from server.realtime.hub import Hub
from server.realtime.live import LiveRoutes
from server.realtime.protocol import abort
from server.repo import mongo, redis
from server.repo.audit_logs import AuditLogRepo
from server.repo.backlogs import Backlogs
from server.repo.bookings import BookingRepo
from server.repo.claims import ClaimStore
from server.repo.idempotency import IdempotencyRepo
from server.repo.layouts import LayoutRepo
from server.repo.seat_answers import SeatStates, StoredPosition
from server.repo.showtimes import ShowtimeRepo
from server.seat_maps import SeatMaps
from server.serving import BehindProxies
from server.settings import Settings


def build(settings: Settings) -> Starlette:
    """Build the server; its lifespan starts and ends the background work. Stores by address."""
    parts = build_parts(settings)
    auth = build_auth(settings, parts.database, tries=parts.limits)
    maps = SeatMaps(parts.seat_store, parts.showtimes, parts.rebuilder)
    hub = Hub(settings.redis_url, MirrorSource(parts, maps), tally=parts.metrics.live)
    detached = Detached()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        hub.start()
        loop_watch = asyncio.create_task(parts.metrics.process.watch_loop(), name="loop watch")
        if settings.background_work == "on":
            parts.workers.start()
        yield
        await end(loop_watch)
        await detached.drain(DRAIN_SECONDS)
        await hub.stop()
        await parts.stop()

    cors = Middleware(
        CorsForPages,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST", "PATCH", "PUT", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "X-Request-ID"],
        expose_headers=[
            *("X-Request-ID", "Idempotent-Replayed", "ETag"),
            *("Retry-After", "RateLimit", "RateLimit-Policy"),
        ],
        allow_credentials=True,
    )
    limiting = Middleware(
        RateLimiting,
        limits=parts.limits,
        identify=auth.guards.identify,
        development=settings.is_development,
    )
    app = Starlette(
        routes=[
            *_routes(parts, auth, maps, hub, detached),
            *_admin_health(settings, parts, auth, hub).routes,
        ],
        middleware=[
            Middleware(BehindProxies, trusted_hosts=list(settings.trusted_proxies)),
            Middleware(
                RequestEnvelope,
                headers=security_headers(settings),
                ended=parts.metrics.requests.ended,
            ),
            Middleware(KnownHosts, hosts=Hosts(settings)),
            cors,
            Middleware(CrossSiteGuard, origins=auth.origins),
            *([limiting] if settings.rate_limits == "on" else []),
        ],
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
            "mongodb": lambda: mongo.ping(parts.database, parts.journal_database),
        },
        parts.metrics,
    )
    return [
        # Each request tries these in order: first what a rush asks for, and what watches over it.
        *SeatRoutes(maps, parts.locks, guards).routes,
        *LiveRoutes(hub, auth.origins.allows, parts.socket_caps).routes,
        *health.routes,
        *MovieRoutes(parts.movies).routes,
        *ShowtimeRoutes(parts.showtimes, parts.movies).routes,
        *BookingRoutes(parts.saga, parts.cancellations, idempotent, detached, guards).routes,
        *(PaymentRoutes(parts.webhooks, detached).routes if parts.webhooks else []),
        *SessionRoutes(auth.sessions, guards).routes,
        *WellKnownRoutes(auth.keys).routes,
        *AccountRoutes(auth.accounts, guards, auth.origins).routes,
        *AuthRoutes(auth.signin, auth.sessions, auth.tickets, guards, auth.origins).routes,
        *(auth.provider.routes if auth.provider else []),
        *AdminRoutes(AuditFeed(AuditLogRepo(parts.database)), guards).routes,
        *AdminUserRoutes(auth.people, detached, guards).routes,
        *AdminBookingRoutes(parts.booking_lists, guards).routes,
        *BoxOfficeRoutes(parts.locks, auth.people, guards).routes,
        *AuditLiveRoutes(
            AuditTail(AuditLogRepo(parts.database)),
            auth.tickets,
            guards,
            auth.origins.allows,
            abort,
            mongo.UNAVAILABLE,
            parts.socket_caps,
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
        *DocumentRoutes(REFRESH_COOKIE, auth.origins.public).routes,
        *page_routes(),
    ]


def _admin_health(settings: Settings, parts: Parts, auth: Auth, hub: Hub) -> AdminHealthRoutes:
    async def redis_version() -> str:
        return ".".join(map(str, await redis.server_version(parts.redis)))

    dependencies = {
        "redis": redis_version,
        "mongodb": lambda: mongo.server_version(parts.database),
    }
    mail = "files" if isinstance(parts.mailer, FileMailer) else "smtp" if parts.mailer else "none"
    return AdminHealthRoutes(
        Health(dependencies, Backlogs(parts.redis, parts.database), parts.build),
        {"mail": mail, "payments": settings.payment_provider},
        hub.census,
        auth.guards,
    )


class MirrorSource:
    """What the live map reads: drawing and states, positions, and a new epoch where need be."""

    def __init__(self, parts: Parts, maps: SeatMaps) -> None:
        self._parts = parts
        self._maps = maps

    async def states(self, showtime_id: str) -> tuple[Layout, SeatStates]:
        return await self._maps.states(showtime_id)

    async def positions(self, showtime_ids: list[str]) -> list[StoredPosition]:
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
        await mongo.leave(database)


async def run_workers(settings: Settings, started: Callable[[], None]) -> None:
    """Do the background work alone, until cancelled; `started` is called once it is under way."""
    parts = build_parts(settings)
    parts.workers.start()
    started()
    try:
        await parts.workers.joined()
    finally:
        await parts.stop()
