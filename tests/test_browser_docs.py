"""/docs in a browser that is allowed our own address and no other."""

import pytest
from playwright.async_api import expect

from tests.browser import Person, launched
from tests.running import IN_MODULE_LOOP, served

pytestmark = [pytest.mark.browser, IN_MODULE_LOOP]

server = served()


async def test_the_api_can_be_read_and_tried_out_without_a_network(server):
    async with launched() as browser:
        page = await browser.new_page()
        person, asked = Person(page, server.url), []
        page.on("request", lambda request: asked.append(request.url))
        await page.goto(f"{server.url}/docs")
        operation = page.locator("#operations-movies-listMovies")
        await operation.click()
        await operation.get_by_role("button", name="Try it out").click()
        await operation.get_by_role("button", name="Execute").click()
        answered = operation.locator(".live-responses-table")
        await expect(answered.get_by_role("cell", name="200", exact=True)).to_be_visible()
        assert person.complaints == []
        places = {url for url in asked if not url.startswith((server.url, "data:", "blob:"))}
        assert places == set()
        assert f"{server.url}/api/movies?limit=50" in asked
