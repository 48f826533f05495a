"""Stripe, as far as Rowlock calls it: a local HTTP server with Stripe's shapes, states, errors and
idempotency keys, which goes wrong when it is told to.

Told by https://docs.stripe.com/api (payment intents, refunds, errors, idempotent requests) and by
the package's own types, which tests/test_stripe.py holds it to.
"""

import asyncio
import hmac
import json
import random
import socket
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from server.serving import bind, serve
from tests.stripe_account import Refusal, StripeAccount
from tests.stripe_objects import Object, error, new_id

SECRET_KEY = "sk_test_of_the_stand_in"
WEBHOOK_SECRET = "whsec_of_the_stand_in"

Action = Literal["create", "confirm", "cancel", "retrieve", "refund", "list_refunds"]
Fault = Literal[
    "unreachable",  # the connection breaks before anything is done
    "stalled",  # no answer, and nothing is done
    "rate_limited",  # 429, and nothing is done
    "failed",  # 500, and nothing is done
    "fronted",  # 502 of something in between that speaks HTML, and nothing is done
    "acted_and_failed",  # done, and 500
    "acted_and_lost",  # done, and the connection breaks
    "acted_and_stalled",  # done, and no answer
]


@dataclass(frozen=True)
class Call:
    action: Action
    params: Object
    key: str | None
    version: str | None


@dataclass
class Answer:
    """What is kept for an idempotency key; `body` is None while the first request runs."""

    fingerprint: str
    status: int = 0
    body: Object | None = None


class Broken(Response):
    """Promises more than it sends, and so the connection breaks."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"100")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})


@dataclass
class StripeStandIn:
    url: str = ""
    account: StripeAccount = field(default_factory=StripeAccount)
    calls: list[Call] = field(default_factory=list)
    delay: Callable[[], float] = lambda: random.uniform(0, 0.004)
    """How long the network takes, and again the work itself, in seconds."""
    _faults: dict[Action, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    _answers: dict[str, Answer] = field(default_factory=dict)
    _locks: dict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    # -- what a test asks of it ------------------------------------------------------------------

    def fail(self, action: Action, fault: Fault, times: int = 1) -> None:
        """Let the next requests of this kind go wrong."""
        self._faults[action].extend([fault] * times)

    def heal(self) -> None:
        """Nothing goes wrong any more."""
        self._faults.clear()

    def forget_keys(self) -> None:
        """A day has gone by, and idempotency keys mean nothing any more."""
        self._answers.clear()

    def made(self, action: Action) -> list[Call]:
        return [call for call in self.calls if call.action == action]

    async def send(
        self, url: str, message: Object, *, secret: str = WEBHOOK_SECRET, age: float = 0
    ) -> httpx.Response:
        """Post an event to a webhook endpoint, signed so many seconds ago."""
        body = json.dumps(message).encode()
        headers = {"Stripe-Signature": signature(body, secret, time.time() - age)}
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            return await client.post(url, content=body, headers=headers)

    # -- how it answers --------------------------------------------------------------------------

    def app(self) -> Starlette:
        act = self.account
        intents, one = "/v1/payment_intents", "/v1/payment_intents/{id}"
        return Starlette(
            routes=[
                self._route("create", act.create, intents, "POST"),
                self._route("retrieve", act.retrieve, one, "GET"),
                self._route("confirm", act.confirm, f"{one}/confirm", "POST"),
                self._route("cancel", act.cancel, f"{one}/cancel", "POST"),
                self._route("refund", act.refund, "/v1/refunds", "POST"),
                self._route("list_refunds", act.list_refunds, "/v1/refunds", "GET"),
            ]
        )

    def _route(self, action: Action, act: Any, path: str, method: str) -> Route:
        async def endpoint(request: Request) -> Response:
            return await self._answer(action, act, request)

        return Route(path, endpoint, methods=[method])

    async def _answer(self, action: Action, act: Any, request: Request) -> Response:
        params = nested(parse_qsl((await request.body()).decode() or request.url.query))
        key = request.headers.get("idempotency-key") if request.method == "POST" else None
        self.calls.append(Call(action, params, key, request.headers.get("stripe-version")))
        fault = self._faults[action].popleft() if self._faults[action] else None
        await asyncio.sleep(self.delay())
        if fault == "unreachable":
            return Broken()
        if fault == "stalled":
            return await self._never()
        if fault == "fronted":
            return Response("<h1>Bad gateway</h1>", 502, media_type="text/html")
        if request.headers.get("authorization") != f"Bearer {SECRET_KEY}":
            return refused(401, error("invalid_request_error", "Invalid API Key provided: sk_****"))
        if fault == "rate_limited":
            return refused(429, error("invalid_request_error", "Too many", code="rate_limit"))
        intent_id = request.path_params.get("id") or params.get("payment_intent") or ""

        async def work() -> Object:
            async with self._locks[intent_id]:
                await asyncio.sleep(self.delay())
                if fault == "failed":
                    raise Refusal(500, error("api_error", "An unknown error occurred"))
                done = dict(act(params, intent_id))
                if fault == "acted_and_failed":
                    raise Refusal(500, error("api_error", "An unknown error occurred"))
                return done

        response = await self._once(key, f"{request.url.path} {params}", work)
        if fault == "acted_and_lost":
            return Broken()
        return await self._never() if fault == "acted_and_stalled" else response

    async def _once(self, key: str | None, fingerprint: str, work: Any) -> Response:
        """Keep the first answer to a key, a 500 too; not that of a request which never began."""
        kept = self._answers.get(key or "")
        if kept and kept.fingerprint != fingerprint:
            text = "Keys for idempotent requests can only be used with the same parameters"
            return refused(400, error("idempotency_error", text))
        if kept and kept.body is None:
            code = "idempotency_key_in_use"
            return refused(409, error("idempotency_error", "Another request runs", code=code))
        if kept:
            return answered(kept.status, kept.body, {"Idempotent-Replayed": "true"})
        answer = Answer(fingerprint)
        if key:
            self._answers[key] = answer
        try:
            answer.status, answer.body = 200, await work()
        except Refusal as refusal:
            answer.status, answer.body = refusal.status, {"error": refusal.error}
            if key and not refusal.begun:
                del self._answers[key]
        return answered(answer.status, answer.body)

    async def _never(self) -> Response:
        await self._released.wait()
        return Broken()


# -- words it uses ---------------------------------------------------------------------------------


def signature(body: bytes, secret: str, at: float) -> str:
    """Return the Stripe-Signature header of `body`."""
    signed = hmac.new(secret.encode(), f"{int(at)}.".encode() + body, "sha256").hexdigest()
    return f"t={int(at)},v1={signed}"


def answered(status: int, body: Object | None, headers: dict[str, str] | None = None) -> Response:
    told = {"Request-Id": new_id("req"), **(headers or {})}
    if status == 500:
        told["Stripe-Should-Retry"] = "false"
    return JSONResponse(body, status, told)


def refused(status: int, why: Object) -> Response:
    return answered(status, {"error": why})


def nested(pairs: Iterable[tuple[str, str]]) -> Object:
    """`a[b]=c` is an object and `a[0]=c` a list."""
    found: Object = {}
    for name, value in pairs:
        outer, bracket, inner = name.rstrip("]").partition("[")
        if not bracket:
            found[outer] = value
        elif inner.isdigit() or not inner:
            found.setdefault(outer, []).append(value)
        else:
            found.setdefault(outer, {})[inner] = value
    return found


@asynccontextmanager
async def stripe_stand_in() -> AsyncIterator[StripeStandIn]:
    """Run a stand-in for Stripe on a free port for as long as the context lasts."""
    stand_in = StripeStandIn()
    with bind("127.0.0.1", 0) as listener:
        # asyncio's own loop would make each answer wait 40 ms for an ACK
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stand_in.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        ready = asyncio.Event()
        server = asyncio.create_task(serve(stand_in.app(), listener, ready.set))
        await ready.wait()
        try:
            yield stand_in
        finally:
            stand_in._released.set()
            server.cancel()
            with suppress(asyncio.CancelledError):
                await server
