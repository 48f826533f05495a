"""GET /health (are the stores there?), /health/live (does this process answer?), /metrics."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server.metrics import Metrics

_CHECK_SECONDS = 2.0

Check = Callable[[], Awaitable[object]]
"""Returns when a dependency answers; raises or hangs when it does not."""


class HealthRoutes:
    def __init__(self, checks: Mapping[str, Check], metrics: Metrics) -> None:
        self._checks = checks
        self._metrics = metrics

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/health", self.health, methods=["GET"]),
            Route("/health/live", self.live, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
        ]

    async def health(self, request: Request) -> Response:
        """200 when every dependency answers, else 503; each is named. 503 also when we leave."""
        answers = await asyncio.gather(*(_check(check) for check in self._checks.values()))
        healthy = all(answers) and not getattr(request.state, "leaving", False)
        checks = {
            name: "ok" if well else "unavailable"
            for name, well in zip(self._checks, answers, strict=True)
        }
        body = {"status": "ok" if healthy else "unavailable", "checks": checks}
        return JSONResponse(body, 200 if healthy else 503, {"Cache-Control": "no-store"})

    async def live(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def metrics(self, request: Request) -> Response:
        return Response(self._metrics.text(), media_type=CONTENT_TYPE_LATEST)


async def _check(check: Check) -> bool:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            await check()
    except Exception:
        return False
    return True
