"""Two people at two browsers: lock, refusal, live change, expiry, payment, cut and return."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from server.catalogue import Layout, Row, Seat
from server.etickets import TicketCodes
from tests.auth_flow import JWT_SECRET
from tests.browser import PHONE, Person, keep_picture, launched, person
from tests.qr import read_qr
from tests.running import IN_MODULE_LOOP, Running, lock, served

pytestmark = [IN_MODULE_LOOP, pytest.mark.browser]

server = served()
hasty = served("hasty", seat_lock_ttl=8)
"""A server whose locks last eight seconds."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with launched() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def bob(browser: Browser, server: Running) -> AsyncIterator[Person]:
    async with person(browser, server, "bob") as bob:
        yield bob


@pytest_asyncio.fixture(loop_scope="module")
async def eve(browser: Browser, server: Running) -> AsyncIterator[Person]:
    async with person(browser, server, "eve") as eve:
        yield eve


async def test_a_lock_shows_in_the_other_window(server: Running, bob: Person, eve: Person) -> None:
    showtime = await server.showtime()
    await bob.open(showtime)
    await eve.open(showtime)
    await bob.click("A2", "A3")
    await bob.sees("mine", "A2", "A3")
    await eve.sees("locked", "A2", "A3")
    await expect(bob.page.locator("#total")).to_have_text("€20.00")
    await expect(bob.page.locator("#countdown")).to_have_text(re.compile(r"4:[0-5]\d|5:00"))
    await keep_picture(bob.page, "bob")
    await keep_picture(eve.page, "eve")
    await bob.click("A2")
    await eve.sees("available", "A2")
    await eve.sees("locked", "A3")
    assert (await server.bob.get(f"/api/showtimes/{showtime}/seats/lock")).json()["lock"][
        "seats"
    ] == ["A3"]


async def test_a_refused_lock_rolls_back_and_says_why(
    server: Running, bob: Person, eve: Person
) -> None:
    showtime = await server.showtime()
    await eve.open(showtime)
    eve.go_deaf()  # for a while, as over a slow line
    await bob.open(showtime)
    await bob.click("A4")
    await bob.sees("mine", "A4")
    await eve.sees("available", "A4")
    await eve.click("A4")
    await expect(eve.page.locator(".toast")).to_contain_text("row A seat 4")
    await eve.sees("available", "A4")
    await expect(eve.page.locator("[data-my-seat]")).to_have_count(0)
    await keep_picture(eve.page, "refused")
    eve.hear_again()
    await eve.sees("locked", "A4")
    answer = await server.eve.get(f"/api/showtimes/{showtime}/seats/lock")
    assert answer.json()["lock"] is None


async def test_declined_then_paid_and_sold_for_all_to_see(
    server: Running, bob: Person, eve: Person
) -> None:
    showtime = await server.showtime()
    await bob.open(showtime)
    await eve.open(showtime)
    await bob.click("B1", "B2")
    await bob.sees("mine", "B1", "B2")
    await bob.page.click("#book")
    await bob.page.check('input[value="demo:decline"]')
    await bob.page.click("#pay")
    await expect(bob.page.locator("#pay-note")).to_contain_text("declined")
    await eve.sees("locked", "B1", "B2")
    await bob.page.check('input[value="demo:approve"]')
    await bob.page.click("#pay")
    await expect(bob.page.locator("#ticket")).to_contain_text("B1")
    await eve.sees("booked", "B1", "B2")
    await keep_picture(bob.page, "ticket")
    await bob.page.goto(f"{server.url}/bookings")
    await expect(bob.page.locator("main, body").first).to_contain_text("B1")
    await keep_picture(bob.page, "bookings")
    stored = await server.stored.database["bookings"].find_one({"showtime_id": showtime})
    assert stored is not None
    assert (stored["status"], stored["claims"]) == ("confirmed", ["B1", "B2"])


async def test_a_ticket_has_its_code_its_calendar_entry_and_its_mail(
    server: Running, bob: Person
) -> None:
    showtime = await server.showtime()
    await bob.open(showtime)
    await bob.click("A7", "A8")
    await bob.page.click("#book")
    await bob.page.check('input[value="demo:approve"]')
    await bob.page.click("#pay")
    picture = bob.page.locator("#ticket img")
    await expect(picture).to_be_visible()
    await picture.evaluate("picture => picture.decode()")
    stored = await server.stored.database["bookings"].find_one({"showtime_id": showtime})
    assert stored is not None
    code = read_qr(await picture.screenshot())
    assert TicketCodes(JWT_SECRET).booking_in(code) == stored["_id"]
    await bob.page.locator("#ticket").scroll_into_view_if_needed()
    await keep_picture(bob.page, "ticket-code")
    async with bob.page.expect_download() as started:
        await bob.page.get_by_role("link", name="Add to calendar").click()
    calendar = Path(await (await started.value).path()).read_text()
    assert "BEGIN:VEVENT" in calendar
    assert "A7\\, A8" in calendar
    async with bob.page.expect_popup() as opened:
        await bob.page.get_by_role("button", name="See the mail").click()
    mail = await opened.value
    await expect(mail.locator("body")).to_contain_text("Hello Bob, you are booked")
    await expect(mail.locator("img")).to_have_js_property("complete", True)
    assert read_qr(await mail.locator("img").screenshot()) == code
    await keep_picture(mail, "mail")
    await mail.close()


async def test_a_lost_answer_is_told_as_unknown(server: Running, bob: Person) -> None:
    showtime = await server.showtime()
    await bob.open(showtime)
    await bob.click("A1")
    await bob.page.click("#book")
    await bob.page.check('input[value="demo:timeout"]')
    await bob.page.click("#pay")
    waiting = bob.page.locator('[aria-busy="true"]', has_text="do not know yet")
    await expect(waiting).to_be_visible(timeout=15_000)
    await expect(bob.page.locator("#ticket")).to_have_count(0)


async def test_time_runs_out_and_the_seats_return(browser: Browser, hasty: Running) -> None:
    showtime = await hasty.showtime()
    async with person(browser, hasty, "bob") as bob, person(browser, hasty, "eve") as eve:
        await eve.open(showtime)
        await bob.open(showtime)
        await bob.click("A1", "A2")
        await eve.sees("locked", "A1", "A2")
        await expect(bob.page.locator("#lapse")).to_have_attribute(
            "data-why", "expired", timeout=30_000
        )
        await keep_picture(bob.page, "lapsed")
        await eve.sees("available", "A1", "A2")
        await bob.sees("available", "A1", "A2")
        await eve.click("A1")
        await bob.sees("locked", "A1")


async def test_a_cut_connection_comes_back_with_all_that_was_missed(
    server: Running, bob: Person, eve: Person
) -> None:
    showtime = await server.showtime()
    await eve.open(showtime)
    await bob.open(showtime)
    await eve.cut()
    await bob.click("A5", "A6")
    await bob.sees("mine", "A5", "A6")
    await eve.sees("available", "A5", "A6")
    eve.mend()
    await eve.sees("locked", "A5", "A6")
    await expect(eve.connection).to_have_attribute("data-status", "live")


async def test_the_map_works_by_keyboard(server: Running, bob: Person) -> None:
    showtime = await server.showtime()
    await bob.open(showtime)
    await bob.seat("A1").focus()
    await bob.page.keyboard.press("ArrowRight")
    await bob.page.keyboard.press("ArrowDown")
    await expect(bob.seat("B2")).to_be_focused()
    await bob.page.keyboard.press("Enter")
    await bob.sees("mine", "B2")
    await expect(bob.seat("B2")).to_have_attribute("aria-busy", "false")
    await bob.page.keyboard.press("Space")
    await bob.sees("available", "B2")
    label = await bob.seat("B2").get_attribute("aria-label")
    assert label is not None
    assert "premium" in label.lower()
    assert "€15.00" in label


async def test_who_is_signed_out_is_led_back_to_the_seat(browser: Browser, server: Running) -> None:
    showtime = await server.showtime()
    async with person(browser, server, None) as somebody:
        await somebody.open(showtime)
        await somebody.click("A7")
        await somebody.page.get_by_role("dialog").get_by_role("link", name="Sign in").click()
        await somebody.page.get_by_role("link", name="Continue with Google").click()
        await somebody.page.get_by_role("button", name="Eve").click()
        await somebody.page.wait_for_url(f"**/showtimes/{showtime}")
        await expect(somebody.connection).to_have_attribute("data-status", "live")
        kept = await somebody.page.evaluate(
            "JSON.stringify([{...localStorage}, {...sessionStorage}])"
        )
        assert "eyJ" not in kept  # where a token would begin


async def test_who_hurries_from_page_to_page_stays_signed_in(server: Running, bob: Person) -> None:
    """Each page spends the refresh token, and is left before it has heard the answer."""
    for _ in range(8):
        await bob.page.goto(server.url, wait_until="commit")
        await bob.page.goto(f"{server.url}/bookings", wait_until="domcontentloaded")
    await expect(bob.page.get_by_label("Signed in as Bob")).to_be_visible()


async def test_a_refused_sign_in_is_told_kindly(browser: Browser, server: Running) -> None:
    async with person(browser, server, None) as somebody:
        await somebody.page.goto(f"{server.url}/api/auth/google/callback?error=access_denied")
        await expect(somebody.page.locator("#auth-error")).to_contain_text("sign")
        await expect(somebody.page.get_by_role("link", name="Sign in").first).to_be_visible()
        await keep_picture(somebody.page, "auth-error")
        again = somebody.page.locator("#auth-error").get_by_role("link", name="Sign in again")
        await expect(again).to_have_attribute("href", "/api/auth/google/login?next=%2F")
        await somebody.page.get_by_role("button", name="Dismiss").click()
        await expect(somebody.page.locator("#auth-error")).to_have_count(0)


async def test_a_link_that_failed_is_told_on_the_page_of_the_account(
    browser: Browser, server: Running
) -> None:
    async with person(browser, server, "bob") as bob:
        await bob.page.goto(f"{server.url}/account?auth_error=email_mismatch")
        await expect(bob.page.locator("#auth-error")).to_contain_text("another mail address")
        await expect(bob.page.locator("account-page")).to_contain_text("bob@example.com")
        await keep_picture(bob.page, "account-auth-error")
        await bob.page.get_by_role("button", name="Dismiss").click()
        await bob.page.wait_for_url("**/account")


async def test_an_administrator_reads_what_happened(browser: Browser, server: Running) -> None:
    showtime = await server.showtime()
    assert (await lock(server.bob, showtime, "A8")).status_code == 200
    async with person(browser, server, "ada") as ada:
        await ada.page.goto(f"{server.url}/admin/audit")
        await expect(ada.page.locator("body")).to_contain_text("bob@example.com")
        await keep_picture(ada.page, "audit")


async def test_a_hall_of_a_thousand_seats_fits_a_phone(browser: Browser, server: Running) -> None:
    rows = tuple(
        Row(chr(65 + y), tuple(Seat(f"{chr(65 + y)}{x + 1}", x) for x in range(50)))
        for y in range(22)
    )
    showtime = await server.showtime(layout=Layout(rows))
    async with person(browser, server, "bob", PHONE) as bob:
        await bob.open(showtime)
        await expect(bob.page.locator("[data-seat]")).to_have_count(1100)
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert await bob.page.evaluate(wide) == 0
        await bob.click("K25")
        await bob.sees("mine", "K25")
        await keep_picture(bob.page, "phone")


async def test_the_page_keeps_the_client_rule(browser: Browser, server: Running) -> None:
    rule = Path(__file__).with_name("live_rule.js").read_text()
    async with person(browser, server, None) as somebody:
        await somebody.page.goto(server.url)
        assert await somebody.page.evaluate(rule.split("\n", 1)[1].rstrip().rstrip(";")) == []
