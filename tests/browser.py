"""People at their browsers: headless Chromium, one context per person."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Locator, Page, WebSocketRoute, async_playwright, expect

from tests.running import Running

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
PATIENCE_MS = 20_000


def chromium() -> str:
    """Return the path of Chromium; without one the test is skipped, or fails where CI says so."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    if os.environ.get("ROWLOCK_REQUIRE_BROWSER"):
        pytest.fail("ROWLOCK_REQUIRE_BROWSER is set, and there is no Chromium")
    pytest.skip("there is no Chromium")


@asynccontextmanager
async def launched() -> AsyncIterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield browser
        await browser.close()


class Person:
    """One person's page, what it complained about, and a hand on its live connection."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        self._sockets: list[WebSocketRoute] = []
        self._cut = False
        self._deaf = False
        self._held_back: list[tuple[WebSocketRoute, str | bytes]] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    async def open(self, showtime_id: str) -> None:
        """Open a showtime and wait until it is live."""
        await self.page.goto(f"{self.url}/showtimes/{showtime_id}")
        await expect(self.connection).to_have_attribute("data-status", "live")

    @property
    def connection(self) -> Locator:
        return self.page.locator("#connection")

    def seat(self, seat: str) -> Locator:
        return self.page.locator(f'[data-seat="{seat}"]')

    async def sees(self, state: str, *seats: str) -> None:
        for seat in seats:
            await expect(self.seat(seat)).to_have_attribute("data-state", state)

    async def click(self, *seats: str) -> None:
        for seat in seats:
            await self.seat(seat).click()

    async def cut(self) -> None:
        """Break the live connection, and every attempt at a new one until `mend`."""
        self._cut = True
        for socket in self._sockets:
            await socket.close(code=1012, reason="cut")
        await expect(self.connection).not_to_have_attribute("data-status", "live")

    def mend(self) -> None:
        self._cut = False

    def go_deaf(self) -> None:
        """Hold back what the server pushes from now on, so that this map grows old unnoticed."""
        self._deaf = True

    def hear_again(self) -> None:
        self._deaf = False
        for socket, message in self._held_back:
            socket.send(message)

    async def route(self, socket: WebSocketRoute) -> None:
        if self._cut:
            await socket.close(code=1012, reason="cut")
            return
        self._sockets.append(socket)
        server = socket.connect_to_server()

        def deliver(message: str | bytes) -> None:
            if self._deaf:
                self._held_back.append((socket, message))
            else:
                socket.send(message)

        server.on_message(deliver)

    def _heard(self, message: object) -> None:
        kind, text = message.type, message.text  # type: ignore[attr-defined]
        expected = "the server responded with a status of 4" in text or "WebSocket" in text
        if kind in ("error", "warning") and not expected:
            self.complaints.append(f"{kind}: {text}")


@asynccontextmanager
async def person(
    browser: Browser, server: Running, name: str | None, viewport: dict[str, int] = DESKTOP
) -> AsyncIterator[Person]:
    """A person of the development provider (None: nobody yet), in a browser of their own."""
    context = await browser.new_context(viewport=viewport, locale="en-GB")  # type: ignore[arg-type]
    page = await context.new_page()
    somebody = Person(page, server.url)
    await page.route_web_socket("**/live*", somebody.route)
    if name:
        hint = f"/api/auth/google/login?next=/&login_hint={name}@example.com"
        await page.goto(server.url + hint)
    yield somebody
    await keep_picture(page, f"{name or 'nobody'}-at-the-end")
    await context.close()
    assert somebody.complaints == []


async def keep_picture(page: Page, name: str) -> None:
    """Save a screenshot where ROWLOCK_SCREENSHOTS says, for eyes that want to look."""
    if folder := os.environ.get("ROWLOCK_SCREENSHOTS"):
        test = os.environ["PYTEST_CURRENT_TEST"].split("::")[-1].split(" ")[0]
        await page.screenshot(path=Path(folder, f"{test}-{name}.png"))
