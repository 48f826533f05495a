"""Accounts at the browser: in by password, out of other devices, roles, and what went wrong."""

import re
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from server.auth.refusals import Reason
from tests.accounts import PASSWORD, an_email, cheap_hashes, register, stranger
from tests.browser import PHONE, Person, keep_picture, launched, person
from tests.running import IN_MODULE_LOOP, Running, booked, problem, served, user_id

pytestmark = [IN_MODULE_LOOP, pytest.mark.browser]

server = served()
assert cheap_hashes  # a fixture of this module, too

NEXT_PASSWORD = "nine red kites over hills"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with launched() as browser:
        yield browser


async def new_account(page: Page, url: str, email: str, back_to: str = "/bookings") -> None:
    await page.goto(f"{url}{back_to}")
    await page.locator("#sign-in").click()
    await page.get_by_role("link", name="Create an account").click()
    await page.get_by_label("Your name").fill("Grace")
    await page.get_by_label("Mail address").fill(email)
    await page.locator("#register-password").fill(PASSWORD)
    await page.get_by_role("button", name="Create account").click()
    await page.wait_for_url(f"{url}{back_to}")


async def log_in(page: Page, url: str, email: str, password: str = PASSWORD) -> None:
    await page.goto(f"{url}/sign-in?next=/account")
    await page.get_by_label("Mail address").fill(email)
    await page.locator("#sign-in-password").fill(password)
    await page.get_by_role("button", name="Sign in").click()


async def is_signed_out(page: Page) -> None:
    await expect(page.locator("#sign-in")).to_be_visible()


async def test_in_out_and_in_again_with_a_password(browser: Browser, server: Running) -> None:
    email = an_email()
    async with person(browser, server, None) as grace:
        page = grace.page
        await new_account(page, server.url, email)
        await expect(page.get_by_label("Signed in as Grace")).to_be_visible()
        await page.locator("#who summary").click()
        await page.locator("#sign-out").click()
        await is_signed_out(page)
        await log_in(page, server.url, email.upper(), "not this one at all")
        await expect(page.locator("#sign-in-password-error")).to_contain_text("do not belong")
        await expect(page.locator("#sign-in-password")).to_be_focused()
        await keep_picture(page, "wrong")
        await page.keyboard.press("ControlOrMeta+A")
        await page.keyboard.type(PASSWORD)
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"{server.url}/account")
        await expect(page.locator("account-page")).to_contain_text(email)
        kept = await page.evaluate(
            "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
        )
        assert "eyJ" not in kept  # where a token would begin
        assert PASSWORD not in kept
        assert kept.endswith(',""]')  # no cookie that a script could read


async def test_what_is_wrong_with_a_new_account_is_told_at_its_field(
    browser: Browser, server: Running
) -> None:
    async with stranger(server.url) as client:
        taken = await register(client)
    async with person(browser, server, None, PHONE) as somebody:
        page = somebody.page
        await page.goto(f"{server.url}/sign-in?as=new")
        await page.get_by_role("button", name="Create account").click()
        await expect(page.locator("#register-name-error")).to_be_visible()
        await expect(page.get_by_label("Your name")).to_be_focused()
        await page.get_by_label("Your name").fill("Grace")
        await page.get_by_label("Mail address").fill(taken)
        await page.locator("#register-password").fill("password1234")
        await page.get_by_role("button", name="Create account").click()
        await expect(page.locator("#register-password-error")).to_contain_text("Many people")
        await keep_picture(page, "weak")
        await page.locator("#register-password").fill(PASSWORD)
        await page.get_by_role("button", name="Show").click()
        await expect(page.locator("#register-password")).to_have_attribute("type", "text")
        await page.get_by_role("button", name="Create account").click()
        await expect(page.locator("#register-email-error")).to_contain_text("already")
        await expect(page.locator("#register-password")).to_have_value(PASSWORD)


async def test_the_way_back_stays_on_this_site(browser: Browser, server: Running) -> None:
    async with person(browser, server, "bob") as bob:
        for elsewhere in ("https://evil.test/", "//evil.test/", "/\\evil.test", "/.//evil.test"):
            await bob.page.goto(f"{server.url}/sign-in?{urlencode({'next': elsewhere})}")
            await bob.page.wait_for_url(f"{server.url}/")
        await bob.page.goto(f"{server.url}/sign-in?next=/bookings")
        await bob.page.wait_for_url(f"{server.url}/bookings")


async def test_a_changed_password_ends_the_session_of_the_other_browser(
    browser: Browser, server: Running
) -> None:
    email = an_email()
    async with person(browser, server, None) as here, person(browser, server, None) as there:
        await new_account(here.page, server.url, email, "/account")
        await log_in(there.page, server.url, email)
        await there.page.wait_for_url(f"{server.url}/account")
        page = here.page
        await page.locator("#current-password").fill("not this one at all")
        await page.locator("#new-password").fill(NEXT_PASSWORD)
        await page.get_by_role("button", name="Change password").click()
        await expect(page.locator("#current-password-error")).to_contain_text("not your current")
        await page.locator("#current-password").fill(PASSWORD)
        await page.get_by_role("button", name="Change password").click()
        await expect(page.locator(".toast")).to_contain_text("password is changed")
        await expect(page.locator("#new-password")).to_have_value("")
        await expect(page.locator("[data-device]")).to_have_count(1)
        await there.page.reload()
        await is_signed_out(there.page)
        await page.reload()
        await expect(page.get_by_label("Signed in as Grace")).to_be_visible()


async def test_google_is_linked_from_the_account(browser: Browser, server: Running) -> None:
    email = an_email()
    async with person(browser, server, None) as grace:
        page = grace.page
        await new_account(page, server.url, email, "/account")
        google = page.locator('[data-way="google"]')
        await expect(google).to_contain_text("Not linked")
        await page.get_by_role("button", name="Link Google").click()
        await page.get_by_label("Name").fill("Grace")
        await page.get_by_label("Email").fill(email)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.locator(".toast")).to_contain_text("Google is linked")
        await expect(google).to_contain_text("Ready")
        await expect(page.locator('[data-way="password"]')).to_contain_text("Ready")


async def test_a_device_is_signed_out_from_another(browser: Browser, server: Running) -> None:
    email = an_email()
    async with person(browser, server, None, PHONE) as here, person(browser, server, None) as lost:
        await new_account(lost.page, server.url, email, "/account")
        await log_in(here.page, server.url, email)
        devices = here.page.locator("[data-device]")
        await expect(devices).to_have_count(2)
        await expect(devices.filter(has_text="This device")).to_have_count(1)
        await expect(devices.first).to_contain_text(re.compile("Chrome on "))
        await keep_picture(here.page, "devices")
        other = devices.filter(has_not_text="This device")
        await other.get_by_role("button", name=re.compile("Sign out")).click()
        await expect(devices).to_have_count(1)
        await lost.page.reload()
        await is_signed_out(lost.page)


async def test_too_many_tries_are_told_with_the_time_to_wait(
    browser: Browser, server: Running
) -> None:
    async with person(browser, server, None) as somebody:
        page = somebody.page
        await page.route(
            "**/api/auth/login",
            lambda route: route.fulfill(
                status=429,
                headers={"Retry-After": "3", "Content-Type": "application/problem+json"},
                json={"status": 429, "code": "rate_limited", "detail": "Too many requests"},
            ),
        )
        await log_in(page, server.url, "grace@example.com")
        await expect(page.locator("sign-in-form count-down")).to_have_text(re.compile("0:0[1-3]"))
        await keep_picture(page, "wait")
        button = page.get_by_role("button", name="Sign in")
        await expect(button).to_have_attribute("aria-disabled", "true")
        await expect(button).to_have_attribute("aria-disabled", "false")
        await expect(page.locator("sign-in-form count-down")).to_have_count(0)


async def test_an_administrator_gives_a_role_and_blocks(browser: Browser, server: Running) -> None:
    async with stranger(server.url) as client, person(browser, server, "ada") as ada:
        email = await register(client, name="Carol")
        carol, page = await user_id(client), ada.page
        row = await find(page, server.url, email)
        await expect(row).to_contain_text("Signs in with a password")
        await row.locator("select").select_option("BOX_OFFICE")
        await expect(row).to_contain_text("may see all bookings")
        await expect(row).to_contain_text("Not verified")
        await row.locator('[data-action="confirm"]').click()
        await expect(row).to_contain_text("Nobody has proven")
        assert await stored_person(server, carol) == ("USER", False)
        await proven(server, carol)
        row = await find(page, server.url, email)
        await expect(row).not_to_contain_text("Not verified")
        await row.locator("select").select_option("BOX_OFFICE")
        await row.locator('[data-action="confirm"]').click()
        await expect(page.locator(".toast")).to_contain_text("now box office")
        await row.locator('[data-action="block"]').click()
        await expect(row).to_contain_text("signed out everywhere")
        await keep_picture(page, "asking")
        await row.locator('[data-action="confirm"]').click()
        await expect(row).to_have_attribute("data-blocked", "true")
        assert await stored_person(server, carol) == ("BOX_OFFICE", True)
        problem(await client.post("/api/auth/refresh"), 401, "unauthenticated")


async def find(page: Page, url: str, email: str) -> Locator:
    await page.goto(f"{url}/admin/people")
    await page.get_by_label("Mail address").fill(email)
    await page.get_by_role("button", name="Search").click()
    await expect(page.locator("[data-person]")).to_have_count(1)
    return page.locator("[data-person]")


async def proven(server: Running, user_id: str) -> None:
    """Somebody has proven that the address of this account is theirs."""
    change = {"$set": {"email_verified": True}}
    await server.stored.database["users"].update_one({"_id": user_id}, change)


async def stored_person(server: Running, user_id: str) -> tuple[str, bool]:
    row = await server.stored.database["users"].find_one({"_id": user_id})
    assert row is not None
    return row["role"], row.get("blocked", False)


async def test_the_last_administrator_stays_one(browser: Browser, server: Running) -> None:
    async with person(browser, server, "ada") as ada:
        row = await find(ada.page, server.url, "ada@example.com")
        await row.locator("select").select_option("USER")
        await row.locator('[data-action="confirm"]').click()
        await expect(row).to_contain_text("the last administrator")
        await expect(row.locator("select")).to_have_value("ADMIN")


async def clerk(server: Running, browser_person: Person, email: str) -> None:
    """Sign in, at the browser, somebody who stands at the counter."""
    async with stranger(server.url) as client:
        await register(client, email, name="Clara")
        clara = await user_id(client)
        await proven(server, clara)
        path = f"/api/admin/users/{clara}"
        assert (await server.ada.patch(path, json={"role": "BOX_OFFICE"})).status_code == 200
    await log_in(browser_person.page, server.url, email)
    await browser_person.page.wait_for_url(f"{server.url}/account")


async def test_the_box_office_locks_for_a_customer_and_sees_the_bookings(
    browser: Browser, server: Running
) -> None:
    showtime = await server.showtime()
    booking = await booked(server.eve, showtime, "B1")
    async with person(browser, server, None) as clara:
        await clerk(server, clara, an_email("clara"))
        page = clara.page
        await expect(page.get_by_role("link", name="People")).to_have_count(0)
        await clara.open(showtime)
        await page.locator("#open-counter").click()
        await clara.click("A1", "A2")
        await clara.sees("chosen", "A1", "A2")
        await page.locator("#customer").fill("nobody@example.com")
        await page.get_by_role("button", name="Lock for the customer").click()
        await expect(page.locator("#customer-error")).to_contain_text("Nobody")
        await page.locator("#customer").fill("bob@example.com")
        await page.get_by_role("button", name="Lock for the customer").click()
        await expect(page.locator(".handed")).to_contain_text("A1 and A2 are locked for bob")
        await clara.sees("locked", "A1", "A2")
        await keep_picture(page, "counter")
        mine = (await server.bob.get(f"/api/showtimes/{showtime}/seats/lock")).json()["lock"]
        assert mine["seats"] == ["A1", "A2"]
        await page.get_by_role("link", name="All bookings").click()
        await expect(page.locator(f'[data-booking="{booking}"]')).to_contain_text("eve@example.com")
        await keep_picture(page, "bookings")
        async with page.expect_download() as started:
            await page.get_by_role("button", name="Download CSV").click()
        saved = await started.value
        assert saved.suggested_filename == "bookings.csv"
        assert booking in (await saved.path()).read_text()


async def test_a_pause_in_locking_is_told_with_its_time(browser: Browser, server: Running) -> None:
    showtime = await server.showtime()
    detail = "Seats were held here for long and none was bought."
    async with person(browser, server, "eve") as eve:
        await eve.page.route(
            "**/seats/lock",
            lambda route: (
                route.fulfill(
                    status=429,
                    headers={"Retry-After": "42", "Content-Type": "application/problem+json"},
                    json={"status": 429, "code": "rate_limited", "detail": detail},
                )
                if route.request.method == "POST"
                else route.fallback()
            ),
        )
        await eve.open(showtime)
        await eve.click("A1")
        pause = eve.page.locator("#pause")
        await expect(pause).to_contain_text("Seats were held here for long and none was bought.")
        await expect(pause.locator("count-down")).to_have_text(re.compile(r"0:(4[0-2]|3\d)"))
        await expect(eve.seat("A1")).to_have_attribute("data-state", "available")
        await keep_picture(eve.page, "pause")


WAY_ON = {"access_denied": "Sign in again", "provider_unavailable": "Another way in"}


@pytest.mark.parametrize("code", WAY_ON)
async def test_a_sign_in_that_failed_has_words_and_a_way_on(
    browser: Browser, server: Running, code: Reason
) -> None:
    async with person(browser, server, None, PHONE) as somebody:
        page = somebody.page
        await page.goto(f"{server.url}/?auth_error={code}")
        told = page.locator("#auth-error")
        await expect(told).to_contain_text("again")
        await keep_picture(page, code)
        await told.get_by_role("link", name=WAY_ON[code]).click()
        await page.wait_for_url(re.compile(r"/dev/oidc/|/sign-in\?next=%2F$"))
