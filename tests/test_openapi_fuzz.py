"""Ten thousand requests that schemathesis makes up from /openapi.json, valid and invalid, to a
server process of its own: none is a bug, and every answer is one that the document tells of.

Each operation is asked by an administrator and by somebody who is none, with ids made up and with
ids of what is there.
"""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import pytest_asyncio
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, assume, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks

from server.embedded import EmbeddedMongo, EmbeddedValkey
from tests.processes import RowlockProcess, servers
from tests.running import HALL, IN_MODULE_LOOP, book, pay, plan, sign_in, user_id
from tests.stored import stores

pytestmark = [pytest.mark.slow, IN_MODULE_LOOP]

CASES = 10_000
EXAMPLES, FEW = 50, 5
TAGS = ("admin", "auth", "bookings", "me", "movies", "server", "showtimes")
COSTLY = {"register", "logIn", "changePassword"}
"""Each hashes a password, which is to take its time."""

ALWAYS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


@dataclass
class Stage:
    """A server, what is there, and who asks."""

    process: RowlockProcess
    document: dict[str, Any]
    tokens: dict[str, str]
    ids: dict[str, str]
    """By the word before it in a path."""
    sent: Counter[int] = field(default_factory=Counter)
    """How often each status was answered."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    valkey: EmbeddedValkey, mongo: EmbeddedMongo, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    """A server process with a showtime, a paid booking, and two people signed in."""
    directory = tmp_path_factory.mktemp("server")
    async with (
        stores(valkey, mongo) as stored,
        servers(directory, stored.redis_url, stored.mongo_uri) as (process,),
        httpx.AsyncClient(base_url=process.url, timeout=20) as ada,
        httpx.AsyncClient(base_url=process.url, timeout=20) as bob,
        httpx.AsyncClient(base_url=process.url, timeout=20) as eve,
    ):
        await sign_in(ada, "ada@example.com")
        await sign_in(bob, "bob@example.com")
        await sign_in(eve, "eve@example.com")  # will have many roles, and be blocked
        showtime = await plan(stored.database)
        booking = (await book(bob, showtime, "A1")).json()["booking"]["id"]
        assert (await pay(bob, booking)).status_code == 200
        await book(ada, showtime, "B1")
        yield Stage(
            process,
            (await ada.get("/openapi.json")).json(),
            {"ADMIN": ada.headers["Authorization"], "USER": bob.headers["Authorization"]},
            {"showtimes": showtime, "bookings": booking, "users": await user_id(eve)},
        )


def operations(document: dict[str, Any], tag: str) -> Iterator[Any]:
    """All of a tag but the stream of events, which never ends."""
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        operation = found.ok()
        if tag in operation.definition.raw["tags"] and not operation.path.endswith("/live"):
            yield operation


def ways(operation: Any) -> Iterator[tuple[GenerationMode, bool]]:
    """How to ask: validly or not, and naming what is there or what is made up."""
    yield GenerationMode.POSITIVE, True
    if "{" in operation.path:
        yield GenerationMode.POSITIVE, False
    raw = operation.definition.raw
    can_be_wrong = len(raw["parameters"]) > 1 or "requestBody" in raw
    if can_be_wrong and operation.path.startswith("/api/"):
        yield GenerationMode.NEGATIVE, False


def real_ids(stage: Stage, operation: Any) -> dict[str, str]:
    """The parameters of the path that may name what is there."""
    words = operation.path.split("/")
    pairs = itertools.pairwise(words)
    return {
        word.strip("{}"): stage.ids[noun]
        for noun, word in pairs
        if word.startswith("{") and noun in stage.ids
    }


def make_real(stage: Stage, body: Any, choice: random.Random) -> None:
    """Let a body that is valid name what is there."""
    if isinstance(body, dict):
        if "showtime_id" in body:
            body["showtime_id"] = stage.ids["showtimes"]
        if "seats" in body:
            body["seats"] = choice.sample(HALL.seat_ids, choice.randint(1, 3))
        if "payment_method" in body:
            body["payment_method"] = choice.choice(["demo:approve", "demo:decline"])


def vanishing(query: Any) -> bool:
    """Something in it is not written into the address: whatever it breaks, nobody sees."""
    return any(value in ([], {}, None) for value in dict(query or {}).values())


def ask(stage: Stage, operation: Any, role: str, mode: GenerationMode, *, real: bool) -> int:
    """Send so many requests and check each answer; returns how many were sent."""
    sent, choice, session = 0, random.Random(operation.label), requests.Session()
    headers = {"Authorization": stage.tokens[role]}
    ids = real_ids(stage, operation) if real else {}
    strategy = operation.as_strategy(generation_mode=mode, path_parameters=ids or None)

    @settings(
        max_examples=examples_of(operation),
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(case=strategy)
    def send(case: Any) -> None:
        nonlocal sent
        if mode is GenerationMode.NEGATIVE:
            assume(not vanishing(case.query))
        sent += 1
        extra = [checks.ignored_auth] if sent <= 3 else []
        if mode is GenerationMode.NEGATIVE:
            extra.append(checks.negative_data_rejection)
        elif real:
            make_real(stage, case.body, choice)
        answer = case.call_and_validate(
            base_url=stage.process.url,
            session=session,
            headers=headers,
            checks=[*ALWAYS, *extra],
            allow_redirects=False,
        )
        stage.sent[answer.status_code] += 1

    send()
    return sent


def examples_of(operation: Any) -> int:
    return FEW if operation.definition.raw["operationId"] in COSTLY else EXAMPLES


def ask_all(stage: Stage, tag: str) -> tuple[int, list[str]]:
    """Ask every operation of a tag in every way; returns how many requests were sent, and what
    broke."""
    load_all_checks()
    sent, broken = 0, []
    for operation in operations(stage.document, tag):
        for role, (mode, real) in itertools.product(stage.tokens, ways(operation)):
            try:
                sent += ask(stage, operation, role, mode, real=real)
            except (Exception, FailureGroup) as error:
                broken.append(f"{operation.label} as {role}, {mode}: {error}")
    return sent, broken


@pytest.mark.parametrize("tag", TAGS)
async def test_every_answer_is_one_that_the_document_tells_of(stage, tag):
    stage.sent.clear()
    sent, broken = await asyncio.to_thread(ask_all, stage, tag)
    print(f"\n{tag}: {sent} requests, {dict(sorted(stage.sent.items()))}")
    assert broken == [], "\n\n".join(broken)
    assert sent >= planned(stage.document, tag)
    assert stage.process.errors() == []
    for role, token in stage.tokens.items():  # else from some point on all was refused
        me = requests.get(f"{stage.process.url}/api/me", headers={"Authorization": token})
        assert me.status_code == 200, role


async def test_that_is_ten_thousand_requests(stage):
    assert sum(planned(stage.document, tag) for tag in TAGS) >= CASES
    assert {tag["name"] for tag in stage.document["tags"]} == set(TAGS)


def planned(document: dict[str, Any], tag: str) -> int:
    found = operations(document, tag)
    return sum(2 * len(list(ways(each))) * examples_of(each) for each in found)
