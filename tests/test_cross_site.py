"""What a page of another site may send with a person's cookies: nothing that does anything."""

import json

import httpx
import pytest
import pytest_asyncio

from server.models import new_id
from tests.page_shapes import FORMS, HONEST, LISTED, PAGES
from tests.running import IN_MODULE_LOOP, booked, lock, problem, served, sign_in

pytestmark = IN_MODULE_LOOP

server = served(cors_origins=LISTED, background_work="off", rate_limits="off")
"""Nothing happens on this server but what requests do."""


class Scene:
    """Bob with a session, a lock and a booking; his browser adds all of it to every request."""

    def __init__(self, server, browser, showtime, booking):
        self.server = server
        self.browser = browser
        self.targets = [
            ("POST", "/api/auth/refresh", None),
            ("POST", "/api/auth/logout", None),
            ("POST", "/api/auth/ticket", None),
            ("POST", f"/api/showtimes/{showtime}/seats/lock", {"seats": ["A4"]}),
            ("POST", f"/api/showtimes/{showtime}/seats/lock/extend", None),
            ("DELETE", f"/api/showtimes/{showtime}/seats/lock", None),
            ("POST", "/api/bookings", {"showtime_id": showtime, "seats": ["A5"]}),
            ("POST", f"/api/bookings/{booking}/pay", {"payment_method": "demo:approve"}),
            ("DELETE", f"/api/bookings/{booking}", None),
            ("POST", "/dev/oidc/authorize", None),
        ]

    async def send(self, target, headers, *, media_type=None):
        method, path, body = target
        content = b"" if body is None else json.dumps(body).encode()
        if media_type is not None:
            headers = [*headers, ("Content-Type", media_type)]
        elif content:
            headers = [*headers, ("Content-Type", "application/json")]
        key = [("Idempotency-Key", new_id("key"))]
        return await self.browser.request(method, path, content=content, headers=[*headers, *key])

    def filled_in(self, headers):
        ours = {"ours": self.server.url, "port": self.server.settings.port}
        return [(name, value.format_map(ours)) for name, value in headers]


@pytest_asyncio.fixture(loop_scope="module")
async def scene(server):
    async with httpx.AsyncClient(base_url=server.url, timeout=20) as browser:
        await sign_in(browser, "bob@example.com")
        showtime = await server.showtime()
        booking = await booked(browser, showtime, "A1")
        assert (await lock(browser, showtime, "A2")).status_code == 200
        yield Scene(server, browser, showtime, booking)


async def test_there_are_enough_of_them():
    assert len(PAGES) >= 30


@pytest.mark.parametrize("page", PAGES)
async def test_a_page_of_another_site_does_nothing(scene, page):
    headers = scene.filled_in(PAGES[page])
    before = await scene.server.stored.digest()
    for target in scene.targets:
        answer = await scene.send(target, headers)
        problem(answer, 403, "forbidden")
        assert "set-cookie" not in answer.headers
    assert await scene.server.stored.digest() == before


@pytest.mark.parametrize("form", FORMS)
async def test_what_a_form_can_send_does_nothing(scene, form):
    """Whether the browser says where it comes from or, being old, does not."""
    before = await scene.server.stored.digest()
    for headers in ([], [("Origin", scene.server.url), ("Sec-Fetch-Site", "same-origin")]):
        for target in scene.targets[:-1]:  # the last one is a form of ours
            answer = await scene.send(target, headers, media_type=FORMS[form])
            problem(answer, 415, "unsupported_media_type")
            assert "set-cookie" not in answer.headers
    assert await scene.server.stored.digest() == before


async def test_a_body_of_no_type_does_nothing(scene):
    before = await scene.server.stored.digest()
    chunks = [{}, {"Transfer-Encoding": "chunked"}]

    async def in_chunks():
        yield b"{}"

    for headers in chunks:
        content = in_chunks() if headers else b"{}"
        answer = await scene.browser.post("/api/auth/refresh", content=content, headers=headers)
        problem(answer, 415, "unsupported_media_type")
    assert await scene.server.stored.digest() == before


@pytest.mark.parametrize("page", HONEST)
async def test_what_is_honest_is_done(scene, page):
    headers = scene.filled_in(HONEST[page])
    *_, lock_seats, extend, release, book, pay, cancel, _ = scene.targets
    for target, status in [
        (scene.targets[0], 200),
        (lock_seats, 200),
        (extend, 200),
        (release, 200),
        (book, 201),
        (pay, 200),
        (cancel, 200),
        (scene.targets[1], 204),
    ]:
        answer = await scene.send(target, headers)
        assert answer.status_code == status, (target, answer.text)


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "Application/JSON"])
async def test_json_by_any_spelling_is_json(scene, media_type):
    answer = await scene.send(scene.targets[3], [], media_type=media_type)
    assert answer.status_code == 200


async def test_a_listed_page_of_another_site_acts_by_its_token(server):
    page = {"Origin": LISTED, "Sec-Fetch-Site": "cross-site"}
    showtime = await server.showtime()
    asked = await server.visitor.options(
        f"/api/showtimes/{showtime}/seats/lock",
        headers={
            **page,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        },
    )
    assert asked.status_code == 200
    async with httpx.AsyncClient(base_url=server.url, headers=page) as elsewhere:
        elsewhere.headers["Authorization"] = server.eve.headers["Authorization"]
        answer = await lock(elsewhere, showtime, "A1")
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == LISTED
        assert list(await server.stored.seats(showtime)) == ["A1"]


async def test_a_listed_page_of_another_site_uses_no_cookie_and_is_told_so(scene):
    page = [("Origin", LISTED), ("Sec-Fetch-Site", "cross-site")]
    before = await scene.server.stored.digest()
    for target in scene.targets[:3]:  # the browser has a cookie for these
        answer = await scene.send(target, page)
        problem(answer, 403, "forbidden")
        assert answer.headers["access-control-allow-origin"] == LISTED
    assert await scene.server.stored.digest() == before


async def test_a_token_does_not_open_the_door_to_a_page_that_is_not_listed(server):
    page = {"Origin": "https://evil.test", "Sec-Fetch-Site": "cross-site"}
    showtime = await server.showtime()
    token = {"Authorization": server.eve.headers["Authorization"]}
    answer = await server.visitor.post(
        f"/api/showtimes/{showtime}/seats/lock", json={"seats": ["A1"]}, headers=page | token
    )
    problem(answer, 403, "forbidden")
    assert await server.stored.seats(showtime) == {}


async def test_reading_is_open_and_shows_no_other_page_what_it_read(server):
    page = {"Origin": "https://evil.test", "Sec-Fetch-Site": "cross-site"}
    answer = await server.visitor.get("/api/movies", headers=page)
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
