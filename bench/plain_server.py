"""The reference of `bench.fanout` and `bench.join`: what a plain Starlette server would do.

`/watch`: each socket has a task that awaits its own `asyncio.Queue` and calls `send_text`; the text
is made once for all. `POST /measure?rounds=&pause=` tells the body to all, so many times; with
`way=loop` without those tasks, by `send_text` to one after the other.
`/join`: each socket accepts, reads the states from Redis (argv: its address and the key of a hash)
and sends them. Uvicorn's own WebSocket protocol, no compression,
no pings, uvloop, no middleware.
"""

import asyncio
import json
import sys
import time

import uvicorn
import uvloop
from redis.asyncio import BlockingConnectionPool, Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from server.serving import bind


class Plain:
    def __init__(self, redis_url: str = "", key: str = "") -> None:
        self._queues: dict[WebSocket, asyncio.Queue[str]] = {}
        self._redis: Redis | None = None
        if redis_url:
            pool = BlockingConnectionPool.from_url(redis_url, max_connections=50)
            self._redis = Redis(connection_pool=pool)
        self._key = key

    async def watch(self, websocket: WebSocket) -> None:
        await websocket.accept()
        queue = asyncio.Queue[str]()
        self._queues[websocket] = queue
        await websocket.send_text("snapshot")
        while True:
            await websocket.send_text(await queue.get())

    async def join(self, websocket: WebSocket) -> None:
        await websocket.accept()
        assert self._redis
        taken = await self._redis.hgetall(self._key)
        states = "".join(taken.get(f"S{n}".encode(), b".").decode() for n in range(900))
        await websocket.send_text(json.dumps({"type": "snapshot", "states": states}))
        await websocket.receive()

    async def measure(self, request: Request) -> Response:
        rounds, pause = (float(request.query_params[name]) for name in ("rounds", "pause"))
        text = (await request.body()).decode()
        began = time.process_time()
        for _ in range(int(rounds)):
            if request.query_params["way"] == "loop":
                for websocket in self._queues:
                    await websocket.send_text(text)
            else:
                for queue in self._queues.values():
                    queue.put_nowait(text)
            await asyncio.sleep(pause)
        seconds = time.process_time() - began
        return JSONResponse({"seconds": seconds, "deliveries": int(rounds) * len(self._queues)})


async def main(redis_url: str = "", key: str = "") -> None:
    plain = Plain(redis_url, key)
    app = Starlette(
        routes=[
            WebSocketRoute("/watch", plain.watch),
            WebSocketRoute("/join", plain.join),
            Route("/measure", plain.measure, methods=["POST"]),
        ]
    )
    config = uvicorn.Config(
        app,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=1,
        ws_ping_interval=None,
    )
    with bind("127.0.0.1", 0) as listener:
        print(listener.getsockname()[1], flush=True)
        await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
