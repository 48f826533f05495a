"""Sign-in through the provider: the whole flow, and every way in which it may not succeed."""

import asyncio
import base64
import hmac
import json
import logging
import socket
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx2
import pytest
import uvicorn
from joserfc import jws, jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.responses import JSONResponse

from server.auth.build import build_auth
from server.auth.development import CLIENT_ID, DevelopmentProvider
from server.auth.openid import OpenIDClient
from server.auth.signin import CALLBACK_PATH, SignIn, local_path
from server.repo.mongo import UNAVAILABLE
from server.repo.outbox import Outbox
from server.repo.signins import SignInRepo
from server.repo.users import Users
from tests.auth_flow import (
    ORIGIN,
    SIGNING_KEY,
    access_token,
    audit_of,
    auth_for,
    browser_for,
    provider_for,
    query_of,
    settings_for,
    sign_in,
    stored,
    to_callback,
)

NOTHING = {"users": 0, "sessions": 0, "signins": 0, "tickets": 0}
FOREIGN_KEY = RSAKey.generate_key(2048, auto_kid=True)


def failed_with(answer, reason):
    """Assert that nobody was signed in, as far as the answer shows."""
    assert (answer.status_code, answer.headers["location"]) == (303, f"/?auth_error={reason}")
    assert "set-cookie" not in answer.headers


# The flow


async def test_a_person_signs_in_and_comes_back_to_where_they_were(database):
    async with browser_for(auth_for(database)) as browser:
        answer = await sign_in(browser, "bob@example.com", next="/showtimes/s1?seat=A1#map")
        assert (answer.status_code, answer.headers["location"]) == (
            303,
            "/showtimes/s1?seat=A1#map",
        )
        refreshed = await browser.post("/api/auth/refresh")
        body = refreshed.json()
        bearer = {"Authorization": f"Bearer {body['access_token']}"}
        me = await browser.get("/api/me", headers=bearer)
    assert {**body, "access_token": ""} == {
        "access_token": "",
        "token_type": "Bearer",
        "expires_in": 900,
        "user": {
            "id": body["user"]["id"],
            "email": "bob@example.com",
            "name": "Bob",
            "role": "USER",
        },
    }
    assert me.json() == {"user": body["user"]}
    assert await stored(database) == {**NOTHING, "users": 1, "sessions": 1}
    assert await audit_of(database) == [("auth.signed_in", "ok", None)]


async def test_login_asks_the_provider_for_a_bound_code(database):
    async with browser_for(auth_for(database)) as browser:
        answer = await browser.get("/api/auth/google/login?login_hint=zoe@somewhere.org")
    where, asked = answer.headers["location"].split("?")[0], query_of(answer.headers["location"])
    assert (answer.status_code, where) == (302, f"{ORIGIN}/dev/oidc/authorize")
    assert asked["response_type"] == "code"
    assert asked["scope"] == "openid email profile"
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == f"{ORIGIN}/api/auth/google/callback"
    assert asked["login_hint"] == "zoe@somewhere.org"
    assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 20
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Max-Age=600" in cookie
    assert "Path=/api/auth/google" in cookie


@pytest.mark.parametrize(
    "origin", ["http://localhost:8000", "http://127.0.0.1:9123", "http://[::1]"]
)
async def test_every_loopback_name_works_with_cookies_of_its_own(database, origin):
    async with browser_for(auth_for(database), origin) as browser:
        login = await browser.get("/api/auth/google/login?login_hint=ada@example.com")
        assert login.headers["location"].startswith(f"{origin}/dev/oidc/authorize?")
        callback = (await browser.get(login.headers["location"])).headers["location"]
        assert callback.startswith(f"{origin}/api/auth/google/callback?")
        await browser.get(callback)
        assert await access_token(browser)


async def test_a_host_header_that_is_no_loopback_name_is_not_believed(database):
    async with browser_for(auth_for(database), "http://localhost.evil.test:8000") as browser:
        login = await browser.get("/api/auth/google/login")
    assert login.headers["location"].startswith(f"{ORIGIN}/dev/oidc/authorize?")
    assert query_of(login.headers["location"])["redirect_uri"].startswith(ORIGIN)


async def test_two_tabs_sign_in_side_by_side(database):
    async with browser_for(auth_for(database)) as browser:
        first = await to_callback(browser, "ada@example.com", next="/first")
        second = await to_callback(browser, "ada@example.com", next="/second")
        assert (await browser.get(first)).headers["location"] == "/first"
        assert (await browser.get(second)).headers["location"] == "/second"


async def test_the_same_person_stays_one_user_whatever_the_address_says(database):
    class Renamed(DevelopmentProvider):
        def claims(self, code):
            return {
                **super().claims(code),
                "email": "New@Example.com",
                "name": " A \n New\x07 Name ",
            }

    async with browser_for(auth_for(database)) as browser:
        await sign_in(browser, "bob@example.com")
    async with browser_for(auth_for(database, kind=Renamed)) as browser:
        await sign_in(browser, "bob@example.com")
    (user,) = await database["users"].find().to_list(None)
    assert (user["email"], user["name"]) == ("new@example.com", "A New Name")


async def test_the_built_in_provider_knows_people_again_after_a_move_to_another_port(database):
    for port in (8000, 8001):
        auth = auth_for(database, settings_for(port=port))
        async with browser_for(auth, f"http://localhost:{port}") as browser:
            await sign_in(browser, "bob@example.com")
    assert await stored(database) == {**NOTHING, "users": 1, "sessions": 2}


async def test_an_address_that_changes_hands_is_another_user(database):
    class Successor(DevelopmentProvider):
        def claims(self, code):
            return {**super().claims(code), "sub": "somebody-else"}

    for kind in (DevelopmentProvider, Successor):
        async with browser_for(auth_for(database, kind=kind)) as browser:
            await sign_in(browser, "bob@example.com")
    assert await database["users"].count_documents({"email": "bob@example.com"}) == 2


async def test_text_from_outside_is_stored_as_text(database):
    """A user is written by an aggregation pipeline, in which `$…` could name a field."""

    class Hostile(DevelopmentProvider):
        def claims(self, code):
            return {**super().claims(code), "name": "$role", "sub": "$email"}

    async with browser_for(auth_for(database, kind=Hostile)) as browser:
        await sign_in(browser, "bob@example.com")
    (user,) = await database["users"].find().to_list(None)
    assert (user["name"], user["sub"], user["role"]) == ("$role", "$email", "USER")


# Roles


async def role_after_sign_in(database, settings, email, kind=DevelopmentProvider):
    async with browser_for(auth_for(database, settings, kind)) as browser:
        await sign_in(browser, email)
        return (await browser.post("/api/auth/refresh")).json()["user"]["role"]


async def test_ada_is_admin_and_admin_emails_add_to_her(database):
    settings = settings_for(admin_emails="Boss@Example.com")
    assert await role_after_sign_in(database, settings, "ada@example.com") == "ADMIN"
    assert await role_after_sign_in(database, settings, "boss@example.com") == "ADMIN"
    assert await role_after_sign_in(database, settings, "eve@example.com") == "USER"


@pytest.mark.parametrize("verified", [False, None, "true", 1])
async def test_an_unverified_address_makes_nobody_admin(database, verified):
    class Unverified(DevelopmentProvider):
        def claims(self, code):
            return {**super().claims(code), "email_verified": verified}

    role = await role_after_sign_in(database, settings_for(), "ada@example.com", Unverified)
    assert role == "USER"


async def test_the_role_follows_the_configuration_but_a_grant_stays(database):
    listed = settings_for(admin_emails="bob@example.com,eve@example.com")
    for email in ("bob@example.com", "eve@example.com"):
        assert await role_after_sign_in(database, listed, email) == "ADMIN"
    assert await Users(database).set_role("Eve@example.com ", "ADMIN")
    assert await role_after_sign_in(database, settings_for(), "bob@example.com") == "USER"
    assert await role_after_sign_in(database, settings_for(), "eve@example.com") == "ADMIN"


# Where the way back leads


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
    ],
)
async def test_next_never_leads_away(database, wanted):
    assert local_path(wanted) == "/"
    async with browser_for(auth_for(database)) as browser:
        answer = await sign_in(browser, next=wanted)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


@pytest.mark.parametrize(
    "wanted", ["/", "/a/b?c=d&e=//f#g", "/caf\u00e9", "/a:b", "/%2F%2Fevil.test"]
)
def test_next_may_be_any_path_here(wanted):
    assert local_path(wanted) == wanted


# The way back that may not succeed


async def refuse(database, browser, address, reason, left):
    failed_with(await browser.get(address), reason)
    assert await stored(database) == {**NOTHING, **left}
    assert await audit_of(database) == [("auth.failed", "refused", reason)]


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state[:-1] + ("a" if state[-1] != "a" else "b"),
        lambda state: "",
        lambda state: "x" * 10_000,
        lambda state: '{"$ne": null}',
    ],
)
async def test_a_forged_state_is_refused(database, change):
    async with browser_for(auth_for(database)) as browser:
        callback = httpx2.URL(await to_callback(browser))
        forged = callback.copy_set_param("state", change(callback.params["state"]))
        await refuse(database, browser, forged, "state_invalid", {"signins": 1})


async def test_an_operator_in_the_name_of_a_parameter_is_no_query(database):
    async with browser_for(auth_for(database)) as browser:
        await to_callback(browser)
        forged = "/api/auth/google/callback?code=x&state[$ne]=x"
        await refuse(database, browser, forged, "state_invalid", {"signins": 1})


async def test_the_state_of_another_browser_is_refused_and_stays_good_for_its_owner(database):
    auth = auth_for(database)
    async with browser_for(auth) as victim, browser_for(auth) as thief:
        callback = await to_callback(thief)
        await to_callback(victim)  # so that the victim has a binding cookie of their own
        failed_with(await victim.get(callback), "state_invalid")
        assert (await stored(database))["sessions"] == 0
        assert (await thief.get(callback)).headers["location"] == "/"


async def test_a_browser_without_the_cookie_is_refused(database):
    async with browser_for(auth_for(database)) as browser:
        callback = await to_callback(browser)
        browser.cookies.clear()
        await refuse(database, browser, callback, "state_invalid", {"signins": 1})


async def test_a_state_serves_once(database):
    async with browser_for(auth_for(database)) as browser:
        callback = await to_callback(browser)
        await browser.get(callback)
        failed_with(await browser.get(callback), "state_invalid")
    assert await stored(database) == {**NOTHING, "users": 1, "sessions": 1}


async def test_an_expired_transaction_is_refused_before_the_store_has_dropped_it(database):
    async with browser_for(auth_for(database)) as browser:
        callback = await to_callback(browser)
        await database["signins"].update_many({}, [{"$set": {"expires_at": "$$NOW"}}])
        await refuse(database, browser, callback, "state_invalid", {"signins": 1})


async def test_a_code_serves_once(database):
    async with browser_for(auth_for(database)) as browser:
        used = await to_callback(browser)
        await browser.get(used)
        fresh = httpx2.URL(await to_callback(browser))
        replayed = fresh.copy_set_param("code", query_of(used)["code"])
        failed_with(await browser.get(replayed), "provider_refused")
    assert (await stored(database))["sessions"] == 1


async def test_a_code_of_another_sign_in_cannot_be_injected(database):
    """PKCE: the code belongs to the verifier of the transaction that it was issued for."""
    auth = auth_for(database)
    async with browser_for(auth) as thief, browser_for(auth) as victim:
        stolen = query_of(await to_callback(victim, "ada@example.com"))["code"]
        own = httpx2.URL(await to_callback(thief, "eve@example.com"))
        failed_with(await thief.get(own.copy_set_param("code", stolen)), "provider_refused")
    assert await stored(database) == {**NOTHING, "signins": 1}


@pytest.mark.parametrize(
    ("field", "value"),
    [("verifier", "x" * 64), ("verifier", ""), ("redirect_uri", f"{ORIGIN}/elsewhere")],
)
async def test_the_provider_checks_what_the_transaction_holds(database, field, value):
    async with browser_for(auth_for(database)) as browser:
        callback = await to_callback(browser)
        await database["signins"].update_many({}, {"$set": {field: value}})
        await refuse(database, browser, callback, "provider_refused", {})


async def test_another_nonce_is_refused(database):
    async with browser_for(auth_for(database)) as browser:
        callback = await to_callback(browser)
        await database["signins"].update_many({}, {"$set": {"nonce": "another"}})
        await refuse(database, browser, callback, "identity_invalid", {})


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("access_denied", "access_denied"),
        ("server_error", "provider_refused"),
        ("<b>", "provider_refused"),
    ],
)
async def test_an_error_of_the_provider_ends_the_sign_in(database, error, reason):
    async with browser_for(auth_for(database)) as browser:
        callback = httpx2.URL(await to_callback(browser))
        spoilt = callback.copy_set_param("error", error)
        await refuse(database, browser, spoilt, reason, {})
        failed_with(await browser.get(callback), "state_invalid")  # it is spent


async def test_an_error_without_any_sign_in_is_told_all_the_same(database):
    async with browser_for(auth_for(database)) as browser:
        address = "/api/auth/google/callback?error=access_denied"
        await refuse(database, browser, address, "access_denied", {})


@pytest.mark.parametrize("query", ["", "?code=x", "?state=x", "?code=x&state=x", "?foo=%00%ff"])
async def test_a_callback_out_of_nowhere_is_refused(database, query):
    async with browser_for(auth_for(database)) as browser:
        address = f"/api/auth/google/callback{query}"
        await refuse(database, browser, address, "state_invalid", {})


# ID tokens that prove nothing


def with_claims(**changes):
    class Tampered(DevelopmentProvider):
        def claims(self, code):
            changed = {**super().claims(code), **changes}
            return {name: value for name, value in changed.items() if value is not ...}

    return Tampered


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "another"},
        {"nonce": ...},
        {"aud": "another-client"},
        {"aud": "another-client", "azp": CLIENT_ID},
        {"aud": [CLIENT_ID, "another-client"]},
        {"aud": CLIENT_ID, "azp": "another-client"},
        {"aud": ...},
        {"iss": "https://evil.test"},
        {"iss": f"{ORIGIN}/dev/oidc/"},
        {"iss": ...},
        {"exp": int(time.time()) - 3600},
        {"exp": ...},
        {"exp": "tomorrow"},
        {"iat": int(time.time()) + 3600},
        {"sub": ...},
        {"sub": ""},
        {"sub": 7},
        {"sub": {"$ne": None}},
        {"email": ...},
        {"email": ""},
        {"email": ["ada@example.com"]},
        {"email": "x" * 400 + "@example.com"},
    ],
    ids=str,
)
async def test_an_id_token_with_a_wrong_claim_is_refused(database, changes):
    async with browser_for(auth_for(database, kind=with_claims(**changes))) as browser:
        await refuse(database, browser, await to_callback(browser), "identity_invalid", {})


def signed_by(sign):
    class Forged(DevelopmentProvider):
        def sign(self, claims):
            return sign(claims)

    return Forged


def unsigned(claims):
    body = jwt.encode({"alg": "RS256"}, claims, SIGNING_KEY).split(".")[1]
    return f"eyJhbGciOiJub25lIn0.{body}."


def with_broken_signature(claims):
    head, body, signature = jwt.encode(
        {"alg": "RS256", "kid": SIGNING_KEY.kid}, claims, SIGNING_KEY
    ).split(".")
    return f"{head}.{body}.{signature[:-8]}AAAAAAAA"


def by_public_key_as_secret(claims):
    _, body, _ = jwt.encode({"alg": "RS256"}, claims, SIGNING_KEY).split(".")
    head = b64url(json.dumps({"alg": "HS256", "kid": SIGNING_KEY.kid}).encode())
    public_key = SIGNING_KEY.as_pem(private=False)
    signature = hmac.digest(public_key, f"{head}.{body}".encode(), "sha256")
    return f"{head}.{body}.{b64url(signature)}"


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


FORGERIES = {
    "foreign key": lambda c: jwt.encode({"alg": "RS256"}, c, FOREIGN_KEY),
    "foreign key under our id": lambda c: jwt.encode(
        {"alg": "RS256", "kid": SIGNING_KEY.kid}, c, FOREIGN_KEY
    ),
    "unknown key id": lambda c: jwt.encode({"alg": "RS256", "kid": "new"}, c, SIGNING_KEY),
    "foreign key in the header": lambda c: jwt.encode(
        {"alg": "RS256", "jwk": FOREIGN_KEY.as_dict(private=False)}, c, FOREIGN_KEY
    ),
    "another algorithm": lambda c: jwt.encode(
        {"alg": "RS512", "kid": SIGNING_KEY.kid}, c, SIGNING_KEY, algorithms=["RS512"]
    ),
    "unsigned": unsigned,
    "broken signature": with_broken_signature,
    "public key as secret": by_public_key_as_secret,
    "no token": lambda c: None,
    "no text": lambda c: {"a": 1},
    "number": lambda c: 7,
    "empty": lambda c: "",
    "rubbish": lambda c: "a.b.c",
    "claims that are no object": lambda c: jws.serialize_compact(
        {"alg": "RS256", "kid": SIGNING_KEY.kid}, b"[]", SIGNING_KEY
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forged_id_token_is_refused(database, forgery):
    async with browser_for(auth_for(database, kind=signed_by(FORGERIES[forgery]))) as browser:
        await refuse(database, browser, await to_callback(browser), "identity_invalid", {})


async def test_an_answer_without_id_token_is_refused(database):
    class WithoutIdentity(DevelopmentProvider):
        async def token(self, request):
            answer = await super().token(request)
            body = json.loads(answer.body)
            del body["id_token"]
            return JSONResponse(body)

    async with browser_for(auth_for(database, kind=WithoutIdentity)) as browser:
        await refuse(database, browser, await to_callback(browser), "identity_invalid", {})


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ([], 200, "provider_unavailable"),
        ("text", 200, "provider_unavailable"),
        ({}, 200, "identity_invalid"),
        ({"error": "invalid_grant"}, 400, "provider_refused"),
        ({"error": {"a": 1}}, 200, "provider_refused"),
        ({}, 503, "provider_unavailable"),
    ],
)
async def test_a_strange_answer_to_the_code_is_refused(database, body, status, reason):
    class Strange(DevelopmentProvider):
        async def token(self, request):
            return JSONResponse(body, status)

    async with browser_for(auth_for(database, kind=Strange)) as browser:
        await refuse(database, browser, await to_callback(browser), reason, {})


# Parts that do not answer


class Unreachable(httpx2.AsyncBaseTransport):
    async def handle_async_request(self, request):
        raise httpx2.ConnectError("nobody there")


def signin_with(database, auth, client, signins=None):
    signin = SignIn(
        client, signins or SignInRepo(database), Users(database), auth.sessions, Outbox(database)
    )
    return replace(auth, signin=signin)


async def test_a_provider_that_does_not_answer_stops_the_login_kindly(database):
    client = OpenIDClient("https://idp.test/discovery", "id", "secret", transport=Unreachable())
    auth = signin_with(database, auth_for(database), client)
    async with browser_for(auth) as browser:
        await refuse(database, browser, "/api/auth/google/login", "provider_unavailable", {})


@pytest.mark.parametrize("call", ["login", "callback"])
async def test_a_store_that_does_not_answer_signs_nobody_in(database, call):
    class Silent(SignInRepo):
        async def add(self, *_):
            raise UNAVAILABLE[0]("nobody there")

        take = add

    client = provider_for(settings_for()).client()
    auth = signin_with(database, auth_for(database), client, Silent(database))
    async with browser_for(auth) as browser:
        failed_with(await browser.get(f"/api/auth/google/{call}"), "store_unavailable")
    assert await stored(database) == NOTHING


# Against a provider elsewhere, as Google is

ISSUER = "https://accounts.idp.test/dev/oidc"


def elsewhere(database, signs_as):
    """Sign-in at a provider that has a host of its own and writes `signs_as` into `iss`."""

    class Elsewhere(DevelopmentProvider):
        def claims(self, code):
            return {**super().claims(code), "iss": signs_as}

    provider = provider_for(settings_for(), Elsewhere)
    provider.issuer = ISSUER
    client = OpenIDClient(
        f"{ISSUER}/.well-known/openid-configuration",
        CLIENT_ID,
        provider.client_secret,
        transport=httpx2.ASGITransport(Starlette(routes=provider.routes)),
    )
    auth = build_auth(settings_for(), database, provider)
    return signin_with(database, auth, client)


async def test_a_provider_may_write_its_name_with_or_without_the_scheme(database):
    for signs_as in (ISSUER, ISSUER.removeprefix("https://")):
        async with browser_for(elsewhere(database, signs_as)) as browser:
            login = await browser.get("/api/auth/google/login?login_hint=ada@example.com")
            assert login.headers["location"].startswith(f"{ISSUER}/authorize?")
            back = await browser.get(login.headers["location"])
            assert (await browser.get(back.headers["location"])).headers["location"] == "/"
    (user,) = await database["users"].find().to_list(None)
    assert user["provider"] == ISSUER


async def test_a_provider_is_found_over_the_network(database):
    """Discovery, token exchange and keys over real sockets, as the settings say."""
    app = Starlette()
    async with serving(app) as address:
        provider = provider_for(settings_for(public_url=address))
        app.routes.extend(provider.routes)
        settings = settings_for(
            google_client_id=CLIENT_ID,
            google_client_secret=provider.client_secret,
            oidc_discovery_url=f"{provider.issuer}/.well-known/openid-configuration",
            google_redirect_url=f"{address}/api/auth/google/callback",
        )
        auth = build_auth(settings, database)
        assert auth.provider is None
        async with browser_for(auth) as browser, httpx2.AsyncClient() as network:
            login = await browser.get("/api/auth/google/login?login_hint=ada@example.com")
            back = await network.get(login.headers["location"])
            arrived = await browser.get(f"{CALLBACK_PATH}?{back.next_request.url.query.decode()}")
            assert (arrived.status_code, arrived.headers["location"]) == (303, "/")
    (user,) = await database["users"].find().to_list(None)
    assert (user["provider"], user["role"]) == (provider.issuer, "USER")


@asynccontextmanager
async def serving(app):
    """Serve `app` on a free loopback port; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        task = asyncio.create_task(server.serve([listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


async def test_a_provider_that_downgrades_its_name_is_refused(database):
    signs_as = ISSUER.replace("https", "http")
    async with browser_for(elsewhere(database, signs_as)) as browser:
        await refuse(database, browser, await to_callback(browser), "identity_invalid", {})


# What nobody may read


async def test_no_secret_reaches_the_logs_the_audit_or_an_address(database, caplog):
    caplog.set_level(logging.DEBUG)
    async with browser_for(auth_for(database)) as browser:
        callback = await to_callback(browser)
        (transaction,) = await database["signins"].find().to_list(None)
        arrived = await browser.get(callback)
        refresh = browser.cookies["rowlock_refresh"]
        token = await access_token(browser)
    secrets = [*query_of(callback).values(), transaction["verifier"], transaction["nonce"]]
    secrets += [refresh, refresh.split(".")[0], token]
    # The browser of this test writes down where it goes; the server has to keep silent.
    said = [
        r.getMessage() for r in caplog.records if r.name != "httpx2" or "/token" in r.getMessage()
    ]
    audited = await database["audit_outbox"].find().to_list(None)
    sessions = await database["sessions"].find().to_list(None)
    seen = f"{said} {audited} {sessions} {arrived.headers['location']}"
    assert [secret for secret in secrets if secret in seen] == []
