"""The plain path to a seat lock: verify the token, validate the body, one EVALSHA, answer.

What a straightforward Starlette server does, with the same script on the same keys, and with the
same uvicorn; no rate limits, no audit, no headers, nothing remembered or gathered.
"""

import os
import secrets

import jwt
import uvicorn
from pydantic import BaseModel
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server import lua
from server.auth.tokens import AUDIENCE
from server.repo.keys import showtime_keys

SCRIPT = lua.load("lock_seats")


class Body(BaseModel):
    seats: list[str]


class PlainLocks:
    def __init__(self, redis_url: str, secret: str) -> None:
        self._redis = Redis.from_url(redis_url, decode_responses=True)
        self._secret = secret
        self._digest = ""

    async def lock(self, request: Request) -> Response:
        token = request.headers["authorization"].removeprefix("Bearer ")
        user = jwt.decode(token, self._secret, ["HS256"], audience=AUDIENCE)["sub"]
        seats = Body.model_validate_json(await request.body()).seats
        showtime = request.path_params["id"]
        keys = [showtime_keys(showtime)[name] for name in SCRIPT.keys]
        lock_id = f"lock_{secrets.token_hex(16)}"
        args = [showtime, user, user, lock_id, 300_000, 10, 0, "", 0, "req_plain"]
        word, *reply = await self._redis.evalsha(await self._sha(), len(keys), *keys, *args, *seats)
        if word != "ok":
            return JSONResponse({"error": word}, 409)
        _, now, lock_id, deadline, _, *seats = reply
        left = int(deadline) - int(now)
        return JSONResponse({"lock": {"id": lock_id, "seats": seats, "expires_in_ms": left}})

    async def _sha(self) -> str:
        if not self._digest:
            self._digest = await self._redis.script_load(SCRIPT.source)
        return self._digest


def main() -> None:
    plain = PlainLocks(os.environ["REDIS_URL"], os.environ["JWT_SECRET"])
    app = Starlette(
        routes=[
            Route("/api/showtimes/{id}/seats/lock", plain.lock, methods=["POST"]),
            Route("/health", lambda request: Response()),
        ]
    )
    port = int(os.environ["PORT"])
    uvicorn.run(app, port=port, http="httptools", loop="uvloop", access_log=False, log_level=30)


if __name__ == "__main__":
    main()
