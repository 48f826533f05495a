"""GET /api/admin/health: how Rowlock is, for administrators."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server.auth.guards import Guards
from server.build_info import Build
from server.health import Dependency, Health
from server.models import Identity, rfc3339

_PATIENCE_SECONDS = 0.5
"""So long the store may take to say that an administrator is still one. This is what they look at
when it is away: then their token's word is enough."""


class AdminHealthRoutes:
    def __init__(
        self,
        health: Health,
        configured: Mapping[str, str],
        live: Callable[[], Mapping[str, int]],
        guards: Guards,
    ) -> None:
        """`configured`: what is not asked how it is, and who provides it. `live` counts
        this process's live maps."""
        self._health = health
        self._configured = configured
        self._live = live
        self._guards = guards

    @property
    def routes(self) -> list[Route]:
        show = self._guards.signed_in(self.show, "ADMIN", patience=_PATIENCE_SECONDS)
        return [Route("/api/admin/health", show, methods=["GET"])]

    async def show(self, request: Request, identity: Identity) -> Response:
        """Always 200: `status` tells whether all is well."""
        report = await self._health.report()
        asked = {name: _dependency(one) for name, one in report.dependencies.items()}
        told = {name: {"provider": provider} for name, provider in self._configured.items()}
        well = all(one["status"] == "ok" for one in asked.values())
        return JSONResponse(
            {
                "status": "ok" if well else "unavailable",
                "dependencies": asked | told,
                "build": _build(report.build),
                "lag": {name: asdict(lag) for name, lag in report.lag.items()},
                "live": dict(self._live()),
            }
        )


def _dependency(one: Dependency) -> dict[str, Any]:
    return {"status": "ok" if one.version else "unavailable", **asdict(one)}


def _build(build: Build) -> dict[str, Any]:
    return {
        "version": build.version,
        "python": build.python,
        "started_at": rfc3339(build.started_at),
        "uptime_ms": build.uptime_ms,
    }
