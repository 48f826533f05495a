"""Who stands where in the access matrix: Ann, who owns things, and a stranger of each role."""

import httpx
import pytest_asyncio

from server.etickets import TicketCodes
from tests.access_matrix import ROLES, Things
from tests.auth_flow import JWT_SECRET
from tests.running import booked, lock, pay, sign_in, user_id


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ann(server):
    """Ann has a lock, a booking to pay, a ticket and a session; nothing of it is for others."""
    async with httpx.AsyncClient(base_url=server.url, timeout=20) as browser:
        await sign_in(browser, "ann.who.is.nobody.else@example.com")
        showtime, further = await server.showtime(), await server.showtime()
        held = (await lock(browser, showtime, "A1")).json()["lock"]["id"]
        booking = await booked(browser, further, "A1")
        paid = await booked(browser, further, "A2")
        assert (await pay(browser, paid)).status_code == 200
        (session,) = (await browser.get("/api/auth/sessions")).json()["items"]
        me = await user_id(browser)
        (movie, *_) = (await browser.get("/api/movies")).json()["items"]
        code = TicketCodes(JWT_SECRET).code_of(paid)
    ids = {
        "showtime_id": showtime,
        "movie_id": movie["id"],
        "booking_id": booking,
        "session_id": session["id"],
        "user_id": me,
        "name": f"{paid}.confirmed",
        "email": "ann.who.is.nobody.else@example.com",
        "code": code,
    }
    marks = [held, booking, paid, session["id"], me, "ann.who.is.nobody.else", code]
    return Things({**ids, "paid": paid, "further": further}, marks)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def callers(server):
    """A client for each role. They hold an access token and no cookies."""
    async with httpx.AsyncClient(base_url=server.url, timeout=20) as nobody:
        clients = {"nobody": nobody}
        for role in ROLES[1:]:
            clients[role] = httpx.AsyncClient(base_url=server.url, timeout=20)
            await sign_in(clients[role], f"{role.lower()}@example.com")
            people = server.stored.database["users"]
            mail = {"email": f"{role.lower()}@example.com"}
            assert (await people.update_one(mail, {"$set": {"role": role}})).matched_count == 1
            granted = (await clients[role].post("/api/auth/refresh")).json()
            assert granted["user"]["role"] == role
            clients[role].headers["Authorization"] = f"Bearer {granted['access_token']}"
            clients[role].cookies.clear()
        yield clients
        for role in ROLES[1:]:
            await clients[role].aclose()
