"""What answers tell browsers, and pages that keep to it."""

import re
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from starlette.routing import Route

from server.api.frontend import FOLDER
from server.api.security_headers import SECURITY_HEADERS, security_headers
from server.app import build
from tests.auth_flow import settings_for
from tests.running import IN_MODULE_LOOP, problem, served

pytestmark = IN_MODULE_LOOP

server = served()

PUBLIC = "https://rowlock.test"
YEAR = 365 * 86_400


def policy_of(answer):
    """The Content-Security-Policy of an answer: directive -> its sources."""
    directives = (part.split() for part in answer.headers["content-security-policy"].split(";"))
    return {name: sources for name, *sources in directives}


async def test_the_policy_lets_nothing_in_but_files_of_our_own(server):
    policy = policy_of(await server.visitor.get("/"))
    assert policy["default-src"] == ["'none'"]
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == ["'self'"]
    assert policy["img-src"] == ["'self'", "data:"]
    for nothing in ("base-uri", "frame-ancestors", "object-src", "trusted-types"):
        assert policy[nothing] == ["'none'"]
    assert policy["form-action"] == ["'self'"]
    assert policy["require-trusted-types-for"] == ["'script'"]
    for loose in ("unsafe-inline", "unsafe-eval", "unsafe-hashes", "http:", "https:", " *"):
        assert loose not in SECURITY_HEADERS["Content-Security-Policy"]


async def test_no_answer_of_any_route_may_run_script_that_is_not_a_file_of_ours(server):
    """A route that has a policy of its own may be looser with styles, and with nothing else."""
    paths = {
        route.path
        for route in server.app.routes
        if isinstance(route, Route) and "GET" in (route.methods or ()) and "/live" not in route.path
    }
    for path in sorted(paths):
        answer = await server.ada.get(re.sub(r"{\w+}", "x", path))
        policy = policy_of(answer)
        assert policy["default-src"] == ["'none'"], path
        assert policy.get("script-src", []) in ([], ["'self'"]), path
        assert policy["frame-ancestors"] == policy["base-uri"] == ["'none'"], path
        for name, value in SECURITY_HEADERS.items():
            if name != "Content-Security-Policy":
                assert answer.headers[name] == value, path


async def test_refusals_carry_them_too(server):
    expected = {name.lower(): value for name, value in SECURITY_HEADERS.items()}
    asked = [
        ("GET", "/api/nowhere", {}),
        ("GET", "/api/me", {}),
        ("GET", "/", {"Host": "evil.test"}),
        ("POST", "/api/auth/refresh", {"Origin": "https://evil.test"}),
        ("POST", "/api/auth/refresh", {"Content-Type": "text/plain"}),
        ("OPTIONS", "/api/bookings", {"Origin": "x", "Access-Control-Request-Method": "POST"}),
    ]
    for method, path, headers in asked:
        async with httpx.AsyncClient(base_url=server.url) as client:
            answer = await client.request(method, path, headers=headers)
        assert answer.status_code >= 400
        assert answer.headers.items() >= expected.items()
    large = await server.visitor.post("/api/auth/refresh", content=b"x" * 2**17)
    problem(large, 413, "body_too_large")
    assert large.headers.items() >= expected.items()


async def test_features_of_the_device_are_switched_off():
    features = SECURITY_HEADERS["Permissions-Policy"].split(", ")
    assert {"camera=()", "microphone=()", "geolocation=()", "payment=()", "usb=()"} <= {*features}
    assert all(feature.endswith("=()") for feature in features)


# -- by https ------------------------------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="module")
async def behind_tls(valkey, mongo):
    """The whole application as it is put together behind a proxy that ends TLS."""
    app = build(
        settings_for(
            app_env="production",
            public_url=PUBLIC,
            google_client_id="id",
            background_work="off",
            redis_url=valkey.url,
            mongo_uri=mongo.uri,
        )
    )
    async with app.router.lifespan_context(app):
        yield app


async def test_over_https_browsers_are_told_to_stay_there(behind_tls):
    transport = httpx.ASGITransport(behind_tls)
    async with httpx.AsyncClient(transport=transport, base_url=PUBLIC) as client:
        for path in ("/", "/api/nowhere", "/health/live", "/static/main.js"):
            strict = (await client.get(path)).headers["strict-transport-security"]
            assert int(re.fullmatch(r"max-age=(\d+); includeSubDomains", strict)[1]) >= YEAR
        refused = await client.get("/", headers={"Host": "evil.test"})
        problem(refused, 421, "host_not_allowed")
        assert "strict-transport-security" in refused.headers
        health = await client.get("/health/live", headers={"Host": "10.0.0.7:8000"})
        assert health.status_code == 200


async def test_over_https_every_cookie_belongs_to_this_host_and_to_no_script(behind_tls):
    transport = httpx.ASGITransport(behind_tls)
    page = {"Origin": PUBLIC, "Sec-Fetch-Site": "same-origin"}
    async with httpx.AsyncClient(transport=transport, base_url=PUBLIC, headers=page) as client:
        answer = await client.post("/api/auth/logout")
        assert answer.status_code == 204
        cookies = answer.headers.get_list("set-cookie")
        assert cookies
        for cookie in cookies:
            name, _, flags = cookie.partition("=")
            flags = {flag.strip().lower() for flag in flags.split(";")[1:]}
            assert name.startswith("__Host-")
            assert {"secure", "httponly", "path=/", "samesite=strict"} <= flags
            assert not any(flag.startswith("domain") for flag in flags)
        twin = {"Origin": "http://rowlock.test", "Sec-Fetch-Site": "cross-site"}
        problem(await client.post("/api/auth/refresh", headers=twin), 403, "forbidden")


async def test_over_http_nothing_is_said_of_https():
    assert "Strict-Transport-Security" not in security_headers(settings_for())
    assert "Strict-Transport-Security" in security_headers(
        settings_for(public_url="HTTPS://x.test")
    )


# -- the pages keep to it ------------------------------------------------------------------------


class Inline(HTMLParser):
    """What a document brings along that the policy would not let run, and where it loads from."""

    def __init__(self):
        super().__init__()
        self.found = []
        self.loads = []
        self._open = None

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self._open = tag
        if tag == "style" or (tag == "script" and "src" not in given):
            self.found.append(tag)
        self.found += [name for name in given if name == "style" or name.startswith("on")]
        self.loads += [given[name] for name in ("src", "href", "action") if given.get(name)]

    def handle_endtag(self, tag):
        self._open = None

    def handle_data(self, data):
        if self._open == "script" and data.strip():
            self.found.append("script with a text")


async def documents(server):
    login = await server.visitor.get("/api/auth/google/login")
    return {
        "the page": await server.visitor.get("/"),
        "the people of the provider": await server.visitor.get(login.headers["location"]),
        "a refusal of the provider": await server.visitor.get("/dev/oidc/authorize"),
        "the documents": await server.visitor.get("/docs"),
        "the problems": await server.visitor.get("/docs/problems"),
    }


async def test_no_page_has_script_or_style_inside(server):
    for name, answer in (await documents(server)).items():
        assert answer.headers["content-type"].startswith("text/html"), name
        page = Inline()
        page.feed(answer.text)
        assert page.found == [], name
        elsewhere = [address for address in page.loads if not re.match(r"/[^/]|/$|#", address)]
        assert elsewhere == [], name


SINKS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|"
    r"createContextualFragment|srcdoc|setHTMLUnsafe|javascript:|cssText\s*=\s*[`\"']|"
    r"setAttribute\(\s*[\"'](?:style|on\w+)"
)
SCRIPTS = sorted(path for path in FOLDER.rglob("*.js"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(FOLDER)))
async def test_no_script_of_ours_makes_markup_or_code_of_a_string(script: Path):
    assert SINKS.findall(script.read_text()) == []


async def test_the_search_would_find_one():
    for bad in ("a.innerHTML = x", "eval(x)", "e.setAttribute('onclick', x)", "document.write(x)"):
        assert SINKS.search(bad)
    page = Inline()
    page.feed("<p style=x onclick=y><style>a{}</style><script>z</script>")
    assert page.found == ["style", "onclick", "style", "script", "script with a text"]
