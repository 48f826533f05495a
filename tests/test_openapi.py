"""/openapi.json tells of every route, as it is; /docs shows it without a network."""

import json
import re
from collections import Counter

import jsonschema_rs
import pytest
from pydantic import TypeAdapter
from starlette.applications import Starlette
from starlette.routing import Route

from server.api.descriptions.problems import every_error
from server.api.documents import OPERATIONS, routed
from server.api.openapi import document
from server.app import build
from server.auth.guards import roles_of
from tests.auth_flow import settings_for
from tests.json_references import references
from tests.running import IN_MODULE_LOOP, book, lock, served

pytestmark = IN_MODULE_LOOP

server = served()

NOWHERE = {"redis_url": "redis://127.0.0.1:1", "mongo_uri": "mongodb://127.0.0.1:1/x?replicaSet=r"}
STRIPE = {
    "payment_provider": "stripe",
    "stripe_secret_key": "sk_test_x",
    "stripe_webhook_secret": "whsec_x",
}
DESCRIBED = {(operation.method, operation.path): operation for operation in OPERATIONS}

MAY = {
    "anyone": None,
    "session": None,
    "maybe a session": None,
    "signed in": (),
    "staff": ("ADMIN", "BOX_OFFICE"),
    "administrator": ("ADMIN",),
}


@pytest.fixture(scope="module", params=["demo", "stripe"])
def app(request: pytest.FixtureRequest) -> Starlette:
    """The server with each payment provider: together they have every route there is."""
    return build(settings_for(**NOWHERE, **(STRIPE if request.param == "stripe" else {})))


@pytest.fixture(scope="module")
def told() -> dict:
    return json.loads(json.dumps(document(OPERATIONS, "rowlock_refresh")))


# -- the document and the route table --------------------------------------------------------------


async def test_every_route_is_described(app):
    missing = [address for address in routed(app.routes) if address not in DESCRIBED]
    assert missing == [], "add them to a file in server/api/descriptions"


async def test_every_description_is_of_a_route():
    both = [build(settings_for(**NOWHERE)), build(settings_for(**NOWHERE, **STRIPE))]
    routes = {address for app in both for address in routed(app.routes)}
    assert DESCRIBED.keys() - routes == set()
    assert len(DESCRIBED) == len(OPERATIONS), "a route is described twice"


async def test_who_may_call_a_route_is_what_its_guard_says(app):
    for route in app.routes:
        for method in route.methods or () if isinstance(route, Route) else ():
            if operation := DESCRIBED.get((method, route.path)):
                assert roles_of(route.endpoint) == MAY[operation.who], operation.name


async def test_every_refusal_is_told_of_and_none_that_is_none(told):
    codes = {
        schema["properties"]["code"]["const"]
        for name, schema in told["components"]["schemas"].items()
        if name.endswith("Problem")
    }
    known = {error.code for error in every_error()}
    assert codes <= known
    assert known - codes == {"method_not_allowed"}, "what no operation can answer"


async def test_names_are_used_once(told):
    names = Counter(
        operation["operationId"] for path in told["paths"].values() for operation in path.values()
    )
    assert [name for name, count in names.items() if count > 1] == []


async def test_the_document_is_a_good_one(told):
    """As the specification says, and every reference leads somewhere."""
    assert told["openapi"].startswith("3.1")
    for ref in references(told):
        found = told
        for part in ref.removeprefix("#/").split("/"):
            found = found[part]
    for name in told["components"]["schemas"]:
        jsonschema_rs.validator_for(schema_named(told, name))


async def test_the_examples_of_bodies_are_good_ones():
    for operation in OPERATIONS:
        if operation.body:
            text = json.dumps(operation.example)
            assert TypeAdapter(operation.body).validate_json(text), operation.name


def schema_named(told, name):
    return {"$ref": f"#/components/schemas/{name}", "components": told["components"]}


# -- what is served --------------------------------------------------------------------------------


async def test_the_document_is_served(server):
    answer = await server.visitor.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    addresses = {(m.upper(), path) for path, item in body["paths"].items() for m in item}
    assert addresses == set(routed(server.app.routes))
    again = await server.visitor.get(
        "/openapi.json", headers={"If-None-Match": answer.headers["etag"]}
    )
    assert again.status_code == 304
    assert again.content == b""


async def test_it_tells_what_goes_along_with_requests_and_answers(server):
    told = (await server.visitor.get("/openapi.json")).json()
    pay = told["paths"]["/api/bookings/{id}/pay"]["post"]
    assert {"$ref": "#/components/parameters/Idempotency-Key"} in pay["parameters"]
    assert pay["security"] == [{"accessToken": []}]
    declined = "#/components/schemas/PaymentDeclinedProblem"
    problem = pay["responses"]["402"]["content"]["application/problem+json"]
    assert problem == {"schema": {"$ref": declined}}
    assert {"200", "202", "402", "409", "422", "429", "503"} <= pay["responses"].keys()
    assert "Retry-After" in pay["responses"]["503"]["headers"]
    assert "RateLimit" in pay["responses"]["200"]["headers"]
    seats = told["paths"]["/api/showtimes/{id}/seats/lock"]["delete"]["parameters"][1]
    assert (seats["name"], seats["style"], seats["explode"]) == ("seats", "form", False)
    refresh = told["paths"]["/api/auth/refresh"]["post"]
    assert refresh["security"] == [{"refreshCookie": []}]
    seat_map = told["paths"]["/api/showtimes/{id}/seat-map"]["get"]
    assert "ETag" in seat_map["responses"]["200"]["headers"]


async def test_answers_are_what_it_says(server):
    """Held to their schemas by hand; test_openapi_fuzz does it ten thousand times."""
    told = (await server.visitor.get("/openapi.json")).json()
    showtime = await server.showtime()
    pairs = {
        "LockAnswer": await lock(server.bob, showtime, "A1"),
        "BookingAnswer": await book(server.bob, showtime, "A1"),
        "SeatsUnavailableProblem": await lock(server.eve, showtime, "A1"),
        "UnknownSeatsProblem": await lock(server.eve, showtime, "Z99"),
        "UnauthenticatedProblem": await server.visitor.get("/api/me"),
        "MeAnswer": await server.bob.get("/api/me"),
    }
    for name, answer in pairs.items():
        validator = jsonschema_rs.validator_for(schema_named(told, name))
        validator.validate(answer.json())
        assert not validator.is_valid(answer.json() | {"more": 1}), "a check that cannot fail"


async def test_the_examples_of_limits_are_what_is_answered(server):
    headers = (await server.visitor.get("/openapi.json")).json()["components"]["headers"]
    answer = await server.visitor.get("/api/movies")
    for name in ("RateLimit", "RateLimit-Policy"):
        (example,) = headers[name]["schema"]["examples"]
        assert re.sub(r"\d+", "1", example) == re.sub(r"\d+", "1", answer.headers[name])


async def test_an_access_token_is_said_to_come_from_each_route_that_gives_one(told):
    said = told["components"]["securitySchemes"]["accessToken"]["description"]
    for path, item in told["paths"].items():
        for operation in item.values():
            if "access_token" in properties_of(told, operation):
                assert f"`POST {path}`" in said


def properties_of(told, operation):
    """The members of what an operation answers when all is well."""
    for status, answer in operation["responses"].items():
        schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
        if status.startswith("2") and "$ref" in schema:
            return told["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"]
    return {}


async def test_the_page_needs_no_other_place(server):
    page = await server.visitor.get("/docs")
    assert page.status_code == 200
    assert "<script>" not in page.text
    assert "http" not in page.text
    policy = page.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    for address in ("/docs/assets/swagger-ui.css", "/docs/assets/swagger-ui-bundle.js"):
        assert f'"{address}"' in page.text
        assert (await server.visitor.get(address)).status_code == 200


@pytest.mark.parametrize("name", ["index.html", "oauth2-redirect.html", "../openapi.py", ""])
async def test_nothing_else_of_its_package_is_served(server, name):
    assert (await server.visitor.get(f"/docs/assets/{name}")).status_code == 404


async def test_the_type_of_a_problem_leads_to_its_words(server):
    kind = (await server.visitor.get("/api/me")).json()["type"]
    address, _, anchor = kind.partition("#")
    page = await server.visitor.get(address)
    assert f'id="{anchor}"' in page.text
    for error in every_error():
        assert f'id="{error.code}"' in page.text
