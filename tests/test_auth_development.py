"""The built-in OpenID provider, spoken to directly, as the protocol allows."""

import base64
import hashlib
import re
from urllib.parse import urlencode

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from starlette.applications import Starlette
from starlette.middleware import Middleware

from server.api.middleware import RequestEnvelope
from server.auth.development import CLIENT_ID, DevelopmentProvider
from server.auth.development_people import account_of, hinted_account
from server.auth.origins import Origins
from tests.auth_flow import ORIGIN, provider_for, query_of, settings_for

VERIFIER = "v" * 43
CHALLENGE = (
    base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
)
CALLBACK = f"{ORIGIN}/api/auth/google/callback"
ASKED = {
    "client_id": CLIENT_ID,
    "response_type": "code",
    "redirect_uri": CALLBACK,
    "scope": "openid email profile",
    "state": "the-state",
    "nonce": "the-nonce",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def provider(clock):
    return provider_for(settings_for(), clock=lambda: clock[0])


@pytest.fixture
async def browser(provider):
    app = Starlette(routes=provider.routes, middleware=[Middleware(RequestEnvelope)])
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=ORIGIN) as client:
        yield client


def asking(**changes):
    asked = {**ASKED, **changes}
    kept = {name: value for name, value in asked.items() if value is not ...}
    return f"/dev/oidc/authorize?{urlencode(kept)}"


async def code_for(browser, email="ada@example.com"):
    answer = await browser.get(asking(login_hint=email))
    return query_of(answer.headers["location"])["code"]


async def exchange(browser, provider, code, **changes):
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
        **changes,
    }
    kept = {name: value for name, value in form.items() if value is not ...}
    auth = (CLIENT_ID, provider.client_secret)
    return await browser.post("/dev/oidc/token", data=kept, auth=auth)


def refused(answer, error, status=400):
    assert (answer.status_code, answer.json()) == (status, {"error": error})
    return True


async def test_it_describes_itself_as_a_provider_does(browser, provider):
    described = (await browser.get("/dev/oidc/.well-known/openid-configuration")).json()
    assert described["issuer"] == provider.issuer == f"{ORIGIN}/dev/oidc"
    endpoints = {name: url for name, url in described.items() if name.endswith(("point", "_uri"))}
    assert len(endpoints) == 4
    for url in endpoints.values():
        assert url.startswith(f"{described['issuer']}/")
        assert (await browser.get(url)).status_code != 404
    assert described["code_challenge_methods_supported"] == ["S256"]


async def test_a_code_is_exchanged_for_a_signed_id_token(browser, provider):
    answer = await exchange(browser, provider, await code_for(browser))
    body = answer.json()
    keys = (await browser.get("/dev/oidc/jwks")).json()
    token = jwt.decode(body["id_token"], KeySet.import_key_set(keys), algorithms=["RS256"])
    claims = token.claims
    assert {name: claims[name] for name in ("iss", "aud", "nonce", "email", "name")} == {
        "iss": provider.issuer,
        "aud": CLIENT_ID,
        "nonce": "the-nonce",
        "email": "ada@example.com",
        "name": "Ada",
    }
    assert claims["email_verified"] is True
    assert claims["exp"] - claims["iat"] == 300
    assert answer.headers["cache-control"] == "no-store"
    bearer = {"Authorization": f"Bearer {body['access_token']}"}
    told = (await browser.get("/dev/oidc/userinfo", headers=bearer)).json()
    assert told == {name: claims[name] for name in ("sub", "email", "email_verified", "name")}


async def test_the_published_keys_are_public(browser):
    (key,) = (await browser.get("/dev/oidc/jwks")).json()["keys"]
    assert set(key) <= {"kty", "kid", "n", "e", "alg", "use"}


@pytest.mark.parametrize("token", ["", "Bearer ", "Bearer x", "x"])
async def test_userinfo_needs_a_token(browser, token):
    answer = await browser.get("/dev/oidc/userinfo", headers={"Authorization": token})
    assert refused(answer, "invalid_token", 401)


# The code


async def test_a_code_serves_once(browser, provider):
    code = await code_for(browser)
    assert (await exchange(browser, provider, code)).status_code == 200
    assert refused(await exchange(browser, provider, code), "invalid_grant")


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "w" * 43},
        {"code_verifier": CHALLENGE},
        {"code_verifier": "v" * 42},
        {"code_verifier": ""},
        {"code_verifier": ...},
        {"redirect_uri": f"{CALLBACK}/"},
        {"redirect_uri": ...},
    ],
    ids=str,
)
async def test_a_wrong_exchange_is_refused_and_spends_the_code(browser, provider, changes):
    code = await code_for(browser)
    assert refused(await exchange(browser, provider, code, **changes), "invalid_grant")
    assert refused(await exchange(browser, provider, code), "invalid_grant")


@pytest.mark.parametrize("code", ["", "x", ...])
async def test_a_made_up_code_is_refused(browser, provider, code):
    assert refused(await exchange(browser, provider, code), "invalid_grant")


async def test_a_code_lives_a_minute(browser, provider, clock):
    early, late = await code_for(browser), await code_for(browser)
    clock[0] += 59
    assert (await exchange(browser, provider, early)).status_code == 200
    clock[0] += 2
    assert refused(await exchange(browser, provider, late), "invalid_grant")


async def test_only_codes_are_exchanged(browser, provider):
    code = await code_for(browser)
    answer = await exchange(browser, provider, code, grant_type="password")
    assert refused(answer, "unsupported_grant_type")


@pytest.mark.parametrize("auth", [None, (CLIENT_ID, "wrong"), ("another", None), (CLIENT_ID, "")])
async def test_only_the_client_exchanges_codes(browser, provider, auth):
    if auth and auth[1] is None:
        auth = (auth[0], provider.client_secret)
    code = await code_for(browser)
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
    }
    answer = await browser.post("/dev/oidc/token", data=form, auth=auth)
    assert refused(answer, "invalid_client", 401)
    assert (await exchange(browser, provider, code)).status_code == 200  # it was not spent


async def test_a_huge_form_is_not_read(browser, provider):
    answer = await exchange(browser, provider, "x" * 20_000)
    assert refused(answer, "unsupported_grant_type")


# The page


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "another"},
        {"client_id": ...},
        {"redirect_uri": ...},
        {"redirect_uri": "https://evil.test/"},
        {"redirect_uri": f"{CALLBACK}?x=y"},
        {"redirect_uri": f"{ORIGIN}/elsewhere"},
        {"redirect_uri": "http://127.0.0.1:8000/api/auth/google/callback"},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_stranger_is_sent_nowhere(browser, changes, method):
    address = asking(login_hint="ada@example.com", **changes)
    answer = await browser.request(method, address, data={"email": "a@example.com"})
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "cannot go on" in answer.text


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": ...}, "unsupported_response_type"),
        ({"scope": "email"}, "invalid_scope"),
        ({"code_challenge": ...}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": ...}, "invalid_request"),
        ({"state": ...}, "invalid_request"),
        ({"nonce": ...}, "invalid_request"),
    ],
    ids=str,
)
async def test_a_request_without_its_safeguards_is_sent_back(browser, changes, error):
    answer = await browser.get(asking(login_hint="ada@example.com", **changes))
    told = query_of(answer.headers["location"])
    assert answer.headers["location"].startswith(f"{CALLBACK}?")
    assert told["error"] == error
    assert "code" not in told


async def test_the_page_offers_the_demo_people_and_any_name(browser, provider):
    page = await browser.get(asking())
    assert page.status_code == 200
    for email in ("ada@example.com", "bob@example.com", "eve@example.com"):
        assert f'value="{email}"' in page.text
    action = re.search(r'action="([^"]+)"', page.text)[1].replace("&amp;", "&")
    assert action == asking()
    form = {"name": "Grace H.", "email": "grace@navy.test"}
    answer = await browser.post(action, data=form)
    told = query_of(answer.headers["location"])
    assert (answer.status_code, told["state"]) == (303, "the-state")
    body = (await exchange(browser, provider, told["code"])).json()
    bearer = {"Authorization": f"Bearer {body['access_token']}"}
    profile = (await browser.get("/dev/oidc/userinfo", headers=bearer)).json()
    assert (profile["name"], profile["email"]) == ("Grace H.", "grace@navy.test")


async def test_whoever_says_no_is_sent_back_with_that_answer(browser):
    answer = await browser.post(asking(), data={"deny": "1"})
    assert answer.status_code == 303
    assert query_of(answer.headers["location"]) == {
        "error": "access_denied",
        "state": "the-state",
        "iss": f"{ORIGIN}/dev/oidc",
    }


@pytest.mark.parametrize("email", ["", "ada", "a b@example.com", "<i>@example.com", "a@b"])
async def test_what_is_no_address_is_asked_again(browser, email):
    answer = await browser.post(asking(), data={"email": email, "name": "X"})
    assert (answer.status_code, "location" in answer.headers) == (422, False)
    assert "not an email address" in answer.text


@pytest.mark.parametrize(
    "hint", ["zoe@somewhere.org", "ada@example.com.evil.test", "@example.com", "x y@example.com"]
)
async def test_a_hint_of_another_domain_only_fills_the_form(browser, hint):
    page = await browser.get(asking(login_hint=hint))
    assert page.status_code == 200
    assert f'value="{hint}"' in page.text


async def test_what_came_from_outside_is_escaped(browser):
    hostile = '"><script>alert(1)</script>'
    page = await browser.get(asking(login_hint=hostile, state=hostile))
    assert "<script" not in page.text
    assert "&lt;script&gt;" in page.text


async def test_the_page_keeps_to_the_content_security_policy(browser):
    page = await browser.get(asking())
    assert "style-src 'self'" in page.headers["content-security-policy"]
    assert not re.search(r"<script|<style|style=|\son\w+=", page.text)
    assert page.headers["cache-control"] == "no-store"
    style = await browser.get("/dev/oidc/style.css")
    assert (style.status_code, style.headers["content-type"]) == (200, "text/css; charset=utf-8")


# People


def test_a_person_is_the_same_in_every_process():
    assert account_of(" Ada@Example.com ").claims == hinted_account("ada@example.com").claims
    assert account_of("ada@example.com").claims["sub"] == "8943164999b19b6eb00ffea0"
    assert (
        account_of("bob@example.com").claims["sub"] != account_of("ada@example.com").claims["sub"]
    )


@pytest.mark.parametrize(
    "changes",
    [{"google_client_id": "id"}, {"app_env": "staging"}, {"app_env": "production"}],
    ids=str,
)
def test_it_cannot_be_built_where_it_must_not_exist(changes):
    settings = settings_for(**changes)
    with pytest.raises(ValueError, match="development only"):
        DevelopmentProvider(settings, Origins(settings))
