"""What payment providers tell us: POST /api/payments/stripe/webhook.

A server calls it, not a browser: what proves the caller is the signature over the raw body.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.api.requests import read_body
from server.detached import Detached
from server.webhook_events import WebhookEvents


class PaymentRoutes:
    def __init__(self, events: WebhookEvents, detached: Detached) -> None:
        self._events = events
        self._detached = detached

    @property
    def routes(self) -> list[Route]:
        return [Route("/api/payments/stripe/webhook", self.receive, methods=["POST"])]

    async def receive(self, request: Request) -> Response:
        body = await read_body(request)
        signature = request.headers.get("stripe-signature", "")
        await self._detached.run(self._events.receive(body, signature))
        return Response(status_code=204)
