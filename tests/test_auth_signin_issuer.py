"""The way back says which provider answers, so that two are never mixed up (RFC 9207)."""

import json

import httpx2
import pytest
from starlette.responses import JSONResponse

from server.auth.development import DevelopmentProvider
from tests.auth_flow import ORIGIN, auth_for, browser_for, to_callback
from tests.signin_refusals import refuse


def without(name):
    return lambda callback: callback.copy_remove_param(name)


def saying(**changes):
    return lambda callback: callback.copy_merge_params(changes)


@pytest.mark.parametrize(
    "change",
    [
        saying(iss="https://evil.test"),
        saying(iss=f"{ORIGIN}/dev/oidc/"),
        saying(iss=""),
        saying(iss="https://evil.test", error="access_denied"),
        without("iss"),
    ],
)
async def test_an_answer_of_another_provider_is_refused(database, change):
    async with browser_for(auth_for(database)) as browser:
        mixed_up = change(httpx2.URL(await to_callback(browser)))
        await refuse(database, browser, mixed_up, "issuer_invalid", {})


class Silent(DevelopmentProvider):
    """Does not promise to say who answers."""

    async def discovery(self, request):
        body = json.loads((await super().discovery(request)).body)
        del body["authorization_response_iss_parameter_supported"]
        return JSONResponse(body)


async def test_a_provider_that_promises_no_name_may_leave_it_out(database):
    async with browser_for(auth_for(database, kind=Silent)) as browser:
        callback = without("iss")(httpx2.URL(await to_callback(browser)))
        assert (await browser.get(callback)).headers["location"] == "/"


async def test_a_wrong_name_is_refused_even_where_none_was_promised(database):
    async with browser_for(auth_for(database, kind=Silent)) as browser:
        mixed_up = saying(iss="https://evil.test")(httpx2.URL(await to_callback(browser)))
        await refuse(database, browser, mixed_up, "issuer_invalid", {})
