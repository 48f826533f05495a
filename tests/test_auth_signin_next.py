"""Where a sign-in leads: to a path of ours, whatever `next` says."""

import httpx2
import pytest

from server.auth.journey import local_path
from tests.auth_flow import ORIGIN, auth_for, browser_for, sign_in


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.test/",
        "//evil.test/",
        "///evil.test",
        "/\\evil.test",
        "\\\\evil.test",
        "/\t/evil.test",
        "/\n/evil.test",
        "/\r\nSet-Cookie: a=b",
        "/\x00",
        "/ok\u2028/x",
        "javascript:alert(1)",
        "evil.test",
        " /evil",
        "",
        "/" + "x" * 2000,
        "//evil.test:443/%2e%2e",
        "/\\/evil.test",
        "\\/evil.test",
        "https:evil.test",
        "https:/evil.test",
        "HTTPS://evil.test",
        "data:text/html,x",
        "@evil.test",
        "?//evil.test",
        "#//evil.test",
        "\u2044\u2044evil.test",
        "/\x0b/evil.test",
        "\ufeff//evil.test",
    ],
)
async def test_next_never_leads_away(database, wanted):
    assert local_path(wanted) == "/"
    async with browser_for(auth_for(database)) as browser:
        answer = await sign_in(browser, next=wanted)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


@pytest.mark.parametrize(
    "wanted", ["/\uff0fevil.test", "/..//evil.test", "/.//evil.test", "/@evil.test"]
)
async def test_what_looks_like_another_host_stays_a_path_here(database, wanted):
    async with browser_for(auth_for(database)) as browser:
        answer = await sign_in(browser, next=wanted)
    assert httpx2.URL(ORIGIN).join(answer.headers["location"]).host == "localhost"


@pytest.mark.parametrize(
    "wanted", ["/", "/a/b?c=d&e=//f#g", "/caf\u00e9", "/a:b", "/%2F%2Fevil.test"]
)
def test_next_may_be_any_path_here(wanted):
    assert local_path(wanted) == wanted
