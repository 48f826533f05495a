"""What becomes of bookings, seen at the browser: given back in part, cancelled by the house."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.browser import PHONE, keep_picture, launched, person
from tests.running import IN_MODULE_LOOP, Running, booked, pay, served

pytestmark = [IN_MODULE_LOOP, pytest.mark.browser]

server = served()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with launched() as browser:
        yield browser


@pytest.mark.parametrize("viewport", [None, PHONE], ids=["desktop", "phone"])
async def test_one_of_three_seats_is_given_back(
    browser: Browser, server: Running, viewport: dict[str, int] | None
) -> None:
    showtime = await server.showtime()
    booking = await booked(server.bob, showtime, "A1", "A2", "B1")
    await pay(server.bob, booking)
    async with person(browser, server, "bob", *([viewport] if viewport else [])) as bob:
        page = bob.page
        await page.goto(f"{server.url}/bookings")
        card = page.locator(f'[data-booking="{booking}"]')
        await card.locator('[data-action="cancel"]').click()
        await expect(card).to_contain_text("You get €35.00 back.")
        for seat in ("A1", "A2"):
            await card.locator(f'[data-give-back="{seat}"]').uncheck()
        await expect(card).to_contain_text("You get €15.00 back.")
        await keep_picture(page, "asking")
        await card.locator('[data-action="confirm-cancel"]').click()
        await expect(card.locator("[data-refund]")).to_have_text("B1 given back, €15.00 refunded")
        await expect(card.locator(".seat-list b")).to_have_text(["A1", "A2"])
        await expect(card.locator(".amount")).to_have_text("€20.00")
        await keep_picture(page, "given-back")
        await card.locator('[data-action="ticket"]').click()
        await expect(card.locator("img.qr")).to_be_visible()
        await keep_picture(page, "ticket")
        await card.locator('[data-action="ticket"]').click()
        await expect(card.locator("img.qr")).to_have_count(0)
    assert (await server.stored.booking(booking))["claims"] == ["A1", "A2"]
    assert await server.stored.charged(booking) == 2000


async def test_no_seat_chosen_is_nothing_to_cancel(browser: Browser, server: Running) -> None:
    showtime = await server.showtime()
    booking = await booked(server.bob, showtime, "A1", "A2")
    await pay(server.bob, booking)
    async with person(browser, server, "bob") as bob:
        await bob.page.goto(f"{server.url}/bookings")
        card = bob.page.locator(f'[data-booking="{booking}"]')
        await card.locator('[data-action="cancel"]').click()
        for seat in ("A1", "A2"):
            await card.locator(f'[data-give-back="{seat}"]').uncheck()
        await expect(card.locator('[data-action="confirm-cancel"]')).to_be_disabled()
        await card.locator('[data-action="keep"]').click()
        await expect(card.locator("[data-give-back]")).to_have_count(0)
    assert (await server.stored.booking(booking))["claims"] == ["A1", "A2"]


async def test_who_watches_a_showtime_that_the_house_cancels_is_told(
    browser: Browser, server: Running
) -> None:
    showtime = await server.showtime()
    sold = await booked(server.bob, showtime, "A1")
    await pay(server.bob, sold)
    async with person(browser, server, "eve") as eve:
        await eve.open(showtime)
        await eve.click("A4")
        await eve.sees("mine", "A4")
        answer = await server.ada.post(f"/api/admin/showtimes/{showtime}/cancel", json={})
        assert answer.status_code in (200, 202)  # done at once, or on its way
        await eve.sees("blocked", "A1", "A4", "B8")
        await expect(eve.page.locator(".banner")).to_have_text(
            "This showtime has been cancelled.", timeout=10_000
        )
        await expect(eve.page.locator("#lapse")).to_be_visible()
        await expect(eve.page.locator("#relock")).to_have_count(0)
        await keep_picture(eve.page, "told")
