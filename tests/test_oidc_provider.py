"""Sign-in at a provider that others have certified: another code base, another reading of the
standards than ours."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx2
import pytest

from server.auth.build import build_auth
from tests.auth_flow import ORIGIN, access_token, app_for, audit_of, query_of, settings_for, stored
from tests.certified_provider import SOURCE, provider_running
from tests.npm_packages import installed
from tests.signin_refusals import NOTHING, failed_with

CALLBACK = f"{ORIGIN}/api/auth/google/callback"
CLIENT = ("rowlock-under-test", "the-secret-that-both-of-them-know-1")


@dataclass(frozen=True, slots=True)
class Stage:
    issuer: str
    auth: object

    def browser(self):
        """A browser with one cookie jar for the provider, over the network, and for us."""
        ours = {ORIGIN: httpx2.ASGITransport(app_for(self.auth))}
        return httpx2.AsyncClient(mounts=ours, base_url=ORIGIN, timeout=20)


def stage(database, issuer, **settings):
    configured = settings_for(
        google_client_id=CLIENT[0],
        google_client_secret=CLIENT[1],
        oidc_discovery_url=f"{issuer}/.well-known/openid-configuration",
        **settings,
    )
    return Stage(issuer, build_auth(configured, database))


@pytest.fixture(scope="module")
def folder(pytestconfig):
    return installed(pytestconfig.cache, SOURCE)


@pytest.fixture(scope="module")
def issuer(folder):
    with provider_running(folder, *CLIENT, CALLBACK) as running:
        yield running


@pytest.fixture
def at_provider(database, issuer):
    return stage(database, issuer)


async def to_callback(browser, email="bob@example.com", change=lambda url: url, **query):
    """Sign in at the provider, up to the address that it sends the browser back to."""
    login = await browser.get("/api/auth/google/login", params={"login_hint": email, **query})
    assert login.status_code == 302, login.text
    return await through_provider(browser, change(httpx2.URL(login.headers["location"])))


async def through_provider(browser, url):
    while not str(url).startswith(CALLBACK):
        answer = await browser.get(url)
        assert answer.has_redirect_location, f"{answer.status_code} {answer.text[:500]}"
        url = httpx2.URL(url).join(answer.headers["location"])
    return url


async def refuse(database, browser, callback, reason, **left):
    failed_with(await browser.get(callback), reason)
    assert await stored(database) == {**NOTHING, **left}
    assert "rowlock_refresh" not in browser.cookies
    assert await audit_of(database) == [("auth.failed", "refused", reason)]


async def test_a_person_signs_in(database, at_provider):
    async with at_provider.browser() as browser:
        answer = await browser.get(await to_callback(browser, next="/showtimes/s1?seat=A1"))
        assert (answer.status_code, answer.headers["location"]) == (303, "/showtimes/s1?seat=A1")
        bearer = {"Authorization": f"Bearer {await access_token(browser)}"}
        me = (await browser.get("/api/me", headers=bearer)).json()["user"]
    (user,) = await database["users"].find().to_list(None)
    assert (user["provider"], user["sub"]) == (at_provider.issuer, "bob@example.com")
    assert me == {"id": user["_id"], "email": "bob@example.com", "name": "bob", "role": "USER"}
    assert await stored(database) == {**NOTHING, "users": 1, "sessions": 1}
    assert await audit_of(database) == [("auth.signed_in", "ok", None)]


async def test_a_provider_with_elliptic_keys_signs_people_in(database, folder):
    with provider_running(folder, *CLIENT, CALLBACK, "ES256") as issuer:
        async with stage(database, issuer).browser() as browser:
            assert (await browser.get(await to_callback(browser))).headers["location"] == "/"


async def test_two_tabs_of_a_browser_both_arrive(database, at_provider):
    async with at_provider.browser() as browser:
        first = await to_callback(browser, next="/first")
        second = await to_callback(browser, next="/second")
        assert (await browser.get(second)).headers["location"] == "/second"
        assert (await browser.get(first)).headers["location"] == "/first"
    assert await stored(database) == {**NOTHING, "users": 1, "sessions": 1}


async def test_keys_that_were_changed_are_followed(database, at_provider):
    async with at_provider.browser() as browser:
        assert (await browser.get(await to_callback(browser))).headers["location"] == "/"
        assert (await browser.post(f"{at_provider.issuer}/rotate")).status_code == 204
        assert (await browser.get(await to_callback(browser))).headers["location"] == "/"
    assert (await stored(database))["sessions"] == 1


@pytest.mark.parametrize(
    ("email", "role"), [("bob@example.com", "ADMIN"), ("new@example.com", "USER")]
)
async def test_a_listed_address_makes_an_admin_once_it_is_verified(database, issuer, email, role):
    listed = stage(database, issuer, admin_emails="bob@example.com,new@example.com")
    async with listed.browser() as browser:
        await browser.get(await to_callback(browser, email))
        refreshed = await browser.post("/api/auth/refresh")
    assert refreshed.json()["user"]["role"] == role


async def test_a_local_account_is_linked(database, at_provider):
    account = {"email": "bob@example.com", "password": "quite a long secret 7", "name": "Robert"}
    async with at_provider.browser() as browser:
        await browser.post("/api/auth/register", json=account)
        bearer = {"Authorization": f"Bearer {await access_token(browser)}"}
        begun = await browser.post("/api/auth/link", headers=bearer)
        asked = httpx2.URL(begun.json()["location"])
        callback = await through_provider(
            browser, asked.copy_set_param("login_hint", "bob@example.com")
        )
        assert (await browser.get(callback)).headers["location"] == "/account"
        me = (await browser.get("/api/me", headers=bearer)).json()
    assert (me["user"]["name"], me["account"]["google_linked"]) == ("Robert", True)


# What it refuses, and what we refuse


async def test_whoever_says_no_is_not_signed_in(database, at_provider):
    async with at_provider.browser() as browser:
        callback = await to_callback(browser, "deny@example.com")
        await refuse(database, browser, callback, "access_denied")


@pytest.mark.parametrize(
    "change",
    [
        lambda url: url.copy_remove_param("code_challenge").copy_remove_param(
            "code_challenge_method"
        ),
        lambda url: url.copy_set_param("code_challenge_method", "plain"),
        lambda url: url.copy_set_param("scope", "unheard-of"),
    ],
    ids=["no PKCE", "plain PKCE", "no scope"],
)
async def test_a_request_that_lost_its_safeguards_comes_back_as_an_error(
    database, at_provider, change
):
    async with at_provider.browser() as browser:
        callback = await to_callback(browser, change=change)
        assert "error" in callback.params
        await refuse(database, browser, callback, "provider_refused")


@pytest.mark.parametrize("verifier", ["", "x" * 64])
async def test_a_wrong_verifier_buys_nothing(database, at_provider, verifier):
    async with at_provider.browser() as browser:
        callback = await to_callback(browser)
        await database["signins"].update_many({}, {"$set": {"verifier": verifier}})
        await refuse(database, browser, callback, "provider_refused")


async def test_another_nonce_is_refused(database, at_provider):
    async with at_provider.browser() as browser:
        callback = await to_callback(
            browser, change=lambda url: url.copy_set_param("nonce", "another")
        )
        await refuse(database, browser, callback, "identity_invalid")


async def test_a_missing_nonce_is_refused(database, at_provider):
    async with at_provider.browser() as browser:
        callback = await to_callback(browser, change=lambda url: url.copy_remove_param("nonce"))
        await refuse(database, browser, callback, "identity_invalid")


async def test_a_code_serves_once(database, at_provider):
    async with at_provider.browser() as browser:
        used = await to_callback(browser)
        await browser.get(used)
        fresh = await to_callback(browser)
        replayed = fresh.copy_set_param("code", used.params["code"])
        failed_with(await browser.get(replayed), "provider_refused")
    assert (await stored(database))["sessions"] == 1


async def test_a_stolen_code_buys_nothing_in_another_browser(database, at_provider):
    async with at_provider.browser() as victim, at_provider.browser() as thief:
        stolen = (await to_callback(victim)).params["code"]
        own = await to_callback(thief, "eve@example.com")
        failed_with(await thief.get(own.copy_set_param("code", stolen)), "provider_refused")
        assert "rowlock_refresh" not in thief.cookies
    assert await stored(database) == {**NOTHING, "signins": 1}


async def test_another_browser_cannot_finish(database, at_provider):
    async with at_provider.browser() as owner, at_provider.browser() as other:
        callback = await to_callback(owner)
        await refuse(database, other, callback, "state_invalid", signins=1)
        assert (await owner.get(callback)).headers["location"] == "/"


@pytest.mark.parametrize("iss", ["https://evil.test", None])
async def test_an_answer_of_another_provider_is_refused(database, at_provider, iss):
    async with at_provider.browser() as browser:
        callback = await to_callback(browser)
        assert query_of(str(callback))["iss"] == at_provider.issuer
        mixed_up = callback.copy_remove_param("iss")
        mixed_up = mixed_up.copy_set_param("iss", iss) if iss else mixed_up
        await refuse(database, browser, mixed_up, "issuer_invalid")


async def test_a_provider_that_went_down_meanwhile_is_told(database, folder):
    async with AsyncExitStack() as stack:
        with provider_running(folder, *CLIENT, CALLBACK) as issuer:
            browser = await stack.enter_async_context(stage(database, issuer).browser())
            callback = await to_callback(browser)
        await refuse(database, browser, callback, "provider_unavailable")
