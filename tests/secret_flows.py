"""People who sign in, buy and go wrong, and a memory for every secret they meet on the way."""

import json
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from server.models import new_id


def canary(kind: str) -> str:
    return f"{kind}{secrets.token_hex(20)}"


@dataclass
class Seen:
    """What a client was told, and which of it is secret."""

    secrets: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    locations: list[str] = field(default_factory=list)
    """Addresses that people are sent to, but for the two legs of a sign-in."""
    bodies: list[str] = field(default_factory=list)

    async def hear(self, answer: httpx.Response) -> None:
        await answer.aread()
        self.bodies.append(answer.text)
        if answer.status_code >= 400:
            self.problems.append(f"{answer.headers} {answer.text}")
        location = answer.headers.get("location", "")
        query = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
        if {"state", "code_challenge"} <= query.keys() or {"state", "code"} <= query.keys():
            self.keep(state=query["state"], nonce=query.get("nonce"), code=query.get("code"))
        elif location:
            self.locations.append(location)
        for cookie in answer.headers.get_list("set-cookie"):
            name, value = cookie.split(";")[0].split("=", 1)
            self.keep(**{f"cookie {name}": value})
            self.keep(**{f"half of {name}": value.partition(".")[2]})
        if answer.headers.get("content-type") == "application/json" and answer.is_success:
            body = answer.json()
            self.keep(access=body.get("access_token"), ticket=body.get("ticket"))

    def keep(self, **found: str | None) -> None:
        """Remember each that is long enough to be a secret."""
        for name, secret in found.items():
            if secret and len(secret) >= 20:
                self.secrets[f"{name} {len(self.secrets)}"] = secret


async def sign_in(client: httpx.AsyncClient, email: str) -> None:
    answer = await client.get("/api/auth/google/login", params={"login_hint": email})
    answer = await client.get(answer.headers["location"])
    assert (await client.get(answer.headers["location"])).status_code == 303
    await renew(client)


async def renew(client: httpx.AsyncClient) -> None:
    granted = await client.post("/api/auth/refresh")
    client.headers["Authorization"] = f"Bearer {granted.json()['access_token']}"


async def ticket(client: httpx.AsyncClient) -> str:
    found: str = (await client.post("/api/auth/ticket")).json()["ticket"]
    return found


async def buy(client: httpx.AsyncClient) -> None:
    showtime = (await client.get("/api/showtimes")).json()["items"][0]["id"]
    states = (await client.get(f"/api/showtimes/{showtime}/seat-map")).json()
    seats = [seat["id"] for row in states["layout"]["rows"] for seat in row["seats"]]
    free = [seat for seat, state in zip(seats, states["states"], strict=True) if state == "."]
    for method, seat in zip(("demo:decline", "demo:approve"), free, strict=False):
        key = {"Idempotency-Key": new_id("key")}
        body = {"showtime_id": showtime, "seats": [seat]}
        booking = (await client.post("/api/bookings", json=body, headers=key)).json()["booking"]
        paying = {"payment_method": method}
        await client.post(f"/api/bookings/{booking['id']}/pay", json=paying, headers=key)
        await client.get(f"/api/bookings/{booking['id']}/ticket.svg")
        await client.get(f"/api/bookings/{booking['id']}/calendar.ics")


async def fail(client: httpx.AsyncClient, seen: Seen) -> None:
    """Send secrets to where they do not belong, and get every refusal for it."""
    made_up = {name: canary(name) for name in ("code", "state", "bearer", "ticket", "cookie")}
    passwords = {name: canary(name) for name in ("password", "new_password")}
    seen.keep(**made_up, **passwords)
    typed = {"email": "mallory@example.com", "password": passwords["password"]}
    ride = {"Cookie": f"rowlock_refresh={made_up['cookie']}.{made_up['code']}"}
    bearer = {"Authorization": f"Bearer {made_up['bearer']}"}
    callback, query = "/api/auth/google/callback", {k: made_up[k] for k in ("code", "state")}
    await client.get(callback, params=query)
    await client.get(callback, params={**query, "error": made_up["code"]})
    await client.get("/api/auth/google/login", params={"next": "//evil.test", **query})
    await client.post("/api/auth/refresh", headers=ride)
    await client.post("/api/auth/logout", headers=ride)
    await client.post("/api/auth/refresh", headers={"Origin": "https://evil.test", **ride})
    await client.get("/api/me", headers=bearer)
    await client.get("/api/admin/audit", headers=bearer)
    await client.get("/api/movies", params={"token": made_up["bearer"]})
    await client.get("/", headers={"Host": "evil.test", **ride})
    await client.post("/api/auth/login", json=typed)
    await client.post("/api/auth/register", json={**typed, "name": "M", "x": made_up["code"]})
    await client.post("/api/auth/register", json={**typed, "name": "Mallory"})
    await client.post("/api/auth/login", json={**typed, "password": passwords["new_password"]})
    await client.post("/api/auth/login", json=[made_up["bearer"]])
    await client.post("/api/auth/login", content=passwords["password"])
    change = {"current_password": passwords["new_password"], "new_password": passwords["password"]}
    await client.post("/api/auth/password", json=change)
    await client.post("/dev/mails/x", data={"ticket": made_up["ticket"]})
    await client.post("/dev/oidc/token", data={"code": made_up["code"]}, headers=bearer)


async def watch(client: httpx.AsyncClient, shown: str, port: int) -> None:
    """Show a ticket to the socket of the audit log, good or not."""
    async with connect(f"ws://127.0.0.1:{port}/api/admin/audit/live") as socket:
        await socket.send(json.dumps({"type": "auth", "ticket": shown}))
        with suppress(ConnectionClosed):
            await socket.recv()
