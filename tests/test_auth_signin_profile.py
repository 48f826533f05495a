"""What a provider tells of a person besides the identity: mail, name, organisation."""

import json

import pytest
from starlette.responses import JSONResponse

from tests.auth_flow import auth_for, browser_for, query_of, sign_in, to_callback
from tests.signin_refusals import elsewhere, refuse, with_claims


def telling(status=200, **changes):
    """A provider that tells the mail address at its userinfo endpoint only."""

    class Telling(with_claims(email=..., email_verified=..., name=...)):
        async def userinfo(self, request):
            body = json.loads((await super().userinfo(request)).body)
            return JSONResponse({**body, **changes}, status)

    return Telling


async def test_what_the_id_token_leaves_out_is_asked_for(database):
    async with browser_for(auth_for(database, kind=telling())) as browser:
        await sign_in(browser, "bob@example.com")
    (user,) = await database["users"].find().to_list(None)
    assert (user["email"], user["email_verified"], user["name"]) == ("bob@example.com", True, "Bob")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (telling(sub="somebody-else"), "identity_invalid"),
        (telling(sub=None), "identity_invalid"),
        (telling(email=None), "identity_invalid"),
        (telling(status=500), "provider_unavailable"),
    ],
)
async def test_a_profile_that_does_not_fit_the_id_token_is_refused(database, kind, reason):
    async with browser_for(auth_for(database, kind=kind)) as browser:
        await refuse(database, browser, await to_callback(browser), reason, {})


@pytest.mark.parametrize(
    "email",
    ["ada@e\u200bxample.com", "ada@example.com\u2060", " ada@example.com", "ad\u212a@x.test"],
)
async def test_an_address_that_only_looks_like_another_counts_as_unproven(database, email):
    auth = auth_for(database, kind=with_claims(email=email, email_verified=True))
    async with browser_for(auth) as browser:
        await sign_in(browser)
    (user,) = await database["users"].find().to_list(None)
    assert (user["email_verified"], user["role"]) == (False, "USER")


# The organisation that may sign in


@pytest.mark.parametrize("told", [..., "", "evil.test", "example.com.evil.test", None, []])
async def test_somebody_of_another_organisation_is_refused(database, told):
    auth = elsewhere(database, with_claims(hd=told), hosted_domain="example.com")
    async with browser_for(auth) as browser:
        await refuse(database, browser, await to_callback(browser), "domain_not_allowed", {})


async def test_somebody_of_the_organisation_signs_in(database):
    auth = elsewhere(database, with_claims(hd="example.com"), hosted_domain="Example.com")
    async with browser_for(auth) as browser:
        login = await browser.get("/api/auth/google/login")
        assert query_of(login.headers["location"])["hd"] == "example.com"
        assert (await sign_in(browser)).headers["location"] == "/"
