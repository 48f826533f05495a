"""Guessing passwords: the same work for every refusal, tries that run out and come back, and an
owner whom no guesser can keep out."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest
from argon2 import PasswordHasher

from server.auth.accounts import Visit
from server.auth.devices import MARK_TTL, Devices
from server.auth.passwords import MAX_WAITING, PER_ADDRESS, RESERVED, THREADS
from server.errors import RateLimited, RowlockError
from server.rate_limits import CLASSES
from tests.accounts import (
    ANOTHER,
    CHANGE,
    CHEAP,
    PASSWORD,
    CountingHasher,
    TriesOnAClock,
    accounts_for,
    an_email,
    cheap_hashes,
    log_in,
    register,
    stranger,
)
from tests.auth_flow import audit_of, browser_for
from tests.processes import until
from tests.running import problem, running

__all__ = ["cheap_hashes"]

EMAIL = "pat@example.com"
SINCE = datetime(2027, 1, 1, tzinfo=UTC)
"""When the password of an account was chosen."""


async def block(database, email):
    await database["users"].update_one({"email": email}, {"$set": {"blocked": True}})


# -- the same work ---------------------------------------------------------------------------------


async def test_every_sign_in_verifies_one_hash_whoever_comes(database):
    """What the clock could tell: counted, so that no load on the machine can blur it."""
    hasher = CountingHasher()
    auth = accounts_for(database, hasher)
    async with browser_for(auth) as person:
        await register(person, EMAIL)
        await register(person, "blocked@example.com")
        await block(database, "blocked@example.com")
        await database["users"].insert_one(
            {"_id": "usr_g", "provider": "p", "sub": "1", "email": "google@example.com"}
            | {"email_verified": True, "name": "G", "role": "USER"}
        )
        work = {}
        for case, email, password, status in [
            ("right", EMAIL, PASSWORD, 200),
            ("wrong", EMAIL, ANOTHER, 401),
            ("unknown", "nobody@example.com", PASSWORD, 401),
            ("blocked", "blocked@example.com", PASSWORD, 401),
            ("blocked and wrong", "blocked@example.com", ANOTHER, 401),
            ("without a password", "google@example.com", PASSWORD, 401),
        ]:
            before = (hasher.verified, hasher.hashed)
            assert (await log_in(person, email, password)).status_code == status, case
            work[case] = (hasher.verified - before[0], hasher.hashed - before[1])
    assert work == dict.fromkeys(work, (1, 0))


async def test_an_address_that_is_taken_costs_the_same_hash(database):
    hasher = CountingHasher()
    async with browser_for(accounts_for(database, hasher)) as person:
        body = {"email": EMAIL, "password": PASSWORD, "name": "Pat"}
        for status in (201, 409):
            before = hasher.hashed
            answer = await person.post("/api/auth/register", json=body)
            assert (answer.status_code, hasher.hashed - before) == (status, 1)


async def test_a_hash_of_another_cost_is_renewed_at_the_next_sign_in(database):
    async with browser_for(accounts_for(database, PasswordHasher(1, 16, 1))) as person:
        await register(person, EMAIL)
    (old,) = await database["users"].find().to_list(None)
    async with browser_for(accounts_for(database)) as person:
        assert (await log_in(person, EMAIL, ANOTHER)).status_code == 401
        assert (await database["users"].find_one())["password_hash"] == old["password_hash"]
        answers = await asyncio.gather(*(log_in(person, EMAIL) for _ in range(4)))
        assert {answer.status_code for answer in answers} == {200}
        (new,) = await database["users"].find().to_list(None)
        assert "$m=8,t=1,p=1$" in new["password_hash"]
        assert new["password_changed_at"] == old["password_changed_at"]
        assert (await log_in(person, EMAIL)).status_code == 200
        assert (await database["users"].find_one())["password_hash"] == new["password_hash"]


class ChangedMeanwhile(CountingHasher):
    """Somebody changes the password while a sign-in with the old one is verified."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def verify(self, kept, password):
        matches = super().verify(kept, password)
        self.change()
        return matches


@pytest.mark.parametrize("what", ["password", "block"])
async def test_a_sign_in_that_a_change_overtakes_opens_nothing(database, what):
    async with browser_for(accounts_for(database)) as person:
        await register(person, EMAIL)
    await database["sessions"].delete_many({})
    loop = asyncio.get_running_loop()
    changes = {
        "password": [{"$set": {"password_hash": CHEAP.hash("x"), "password_changed_at": "$$NOW"}}],
        "block": [{"$set": {"blocked": True}}],
    }

    def change():
        work = database["users"].update_one({}, changes[what])
        asyncio.run_coroutine_threadsafe(_awaited(work), loop).result(10)

    async with browser_for(accounts_for(database, ChangedMeanwhile(change))) as person:
        answer = await log_in(person, EMAIL)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert "set-cookie" not in answer.headers
    assert await database["sessions"].count_documents({}) == 0
    assert (await audit_of(database))[-1] == ("auth.failed", "refused", "changed_meanwhile")


async def _awaited(work):
    return await work


# -- tries -----------------------------------------------------------------------------------------


def throttled(answer, seconds):
    body = answer.json()
    assert (answer.status_code, body["code"]) == (429, "rate_limited")
    assert answer.headers["retry-after"] == str(seconds)
    return True


async def test_tries_run_out_and_come_back_one_by_one(database):
    tries, hasher = TriesOnAClock(), CountingHasher()
    async with browser_for(accounts_for(database, hasher, tries)) as guesser:
        for email in (EMAIL, "nobody@example.com"):
            tries.now = 0.0
            if email == EMAIL:
                await register(guesser, email)
            guesser.cookies.clear()
            before = hasher.verified
            for _ in range(10):
                assert (await log_in(guesser, email, ANOTHER)).status_code == 401
            assert throttled(await log_in(guesser, email, ANOTHER), 300)
            tries.now = 299.0
            assert throttled(await log_in(guesser, email, PASSWORD), 1)
            assert hasher.verified - before == 10  # those that are refused cost nothing
            tries.now = 300.0
            assert (await log_in(guesser, email, ANOTHER)).status_code == 401
            assert throttled(await log_in(guesser, email, ANOTHER), 300)


async def test_an_unknown_address_is_throttled_in_the_same_words(database):
    told = []
    for email in (EMAIL, "nobody@example.com"):
        async with browser_for(accounts_for(database, tries=TriesOnAClock())) as guesser:
            if email == EMAIL:
                await register(guesser, email)
                guesser.cookies.clear()
            answers = [await log_in(guesser, email, ANOTHER) for _ in range(12)]
        bodies = [{**answer.json(), "request_id": ""} for answer in answers]
        told.append([(a.status_code, b) for a, b in zip(answers, bodies, strict=True)])
    assert told[0] == told[1]


async def test_many_guesses_at_once_are_counted_as_well(database):
    hasher = CountingHasher()
    async with browser_for(accounts_for(database, hasher, TriesOnAClock())) as guesser:
        answers = await asyncio.gather(*(log_in(guesser, EMAIL, f"guess {n}") for n in range(60)))
    assert [answer.status_code for answer in answers].count(401) == hasher.verified == 10


async def test_the_case_of_an_address_gives_no_more_tries(database):
    async with browser_for(accounts_for(database, tries=TriesOnAClock())) as guesser:
        cases = [EMAIL[:n].upper() + EMAIL[n:] for n in range(12)]
        answers = [await log_in(guesser, email, ANOTHER) for email in cases]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2


async def test_a_success_gives_its_own_tries_back_and_no_others(database):
    tries = TriesOnAClock()
    auth = accounts_for(database, tries=tries)
    async with browser_for(auth) as person, browser_for(auth) as guesser:
        await register(person, EMAIL)
        await register(guesser, "guesser@example.com")
        guesser.cookies.clear()
        for _ in range(9):
            await log_in(guesser, EMAIL, ANOTHER)
        assert (await log_in(guesser, "guesser@example.com")).status_code == 200
        await log_in(guesser, EMAIL, ANOTHER)
        assert throttled(await log_in(guesser, EMAIL, ANOTHER), 300)
        for _ in range(30):
            assert (await log_in(person, EMAIL)).status_code == 200
        assert throttled(await log_in(guesser, EMAIL, ANOTHER), 300)  # not the guesser's either


async def test_nobody_can_keep_the_owner_out_of_a_browser_they_used_before(database):
    auth = accounts_for(database, tries=TriesOnAClock())
    async with browser_for(auth) as owner, browser_for(auth) as guesser, browser_for(auth) as new:
        await register(owner, EMAIL)
        for _ in range(50):
            await log_in(guesser, EMAIL, ANOTHER)
        assert throttled(await log_in(new, EMAIL), 300)
        assert (await log_in(owner, EMAIL)).status_code == 200
        await owner.post("/api/auth/logout")
        assert (await log_in(owner, EMAIL)).status_code == 200


async def test_the_device_that_is_known_has_no_tries_without_end(database):
    """A mark that was stolen is worth one more bucket."""
    auth = accounts_for(database, tries=TriesOnAClock())
    async with browser_for(auth) as owner:
        await register(owner, EMAIL)
        answers = [await log_in(owner, EMAIL, ANOTHER) for _ in range(12)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2


async def test_a_mark_is_good_for_one_address(database):
    auth = accounts_for(database, tries=TriesOnAClock())
    async with browser_for(auth) as guesser, browser_for(auth) as owner:
        await register(owner, EMAIL)
        for _ in range(10):
            await register(guesser, an_email())  # a mark of each
            await log_in(guesser, EMAIL, ANOTHER)
        assert throttled(await log_in(guesser, EMAIL, ANOTHER), 300)


def test_no_mark_can_be_made_up():
    devices, others = Devices(b"k" * 32), Devices(b"x" * 32)
    mark = devices.mark(EMAIL, SINCE)
    assert devices.known(mark, EMAIL, SINCE).name == mark.split(".")[0]
    device, until, proof = mark.split(".")
    other = devices.mark("eve@example.com", SINCE)
    for wrong in (
        *("", ".", device, proof, f"{proof}.{device}", f"{device}.{until}.{'a' * 43}", mark + "a"),
        *(f"{device}.{proof}", f"{device}.{int(until) + 1}.{proof}", f"{device}..{proof}"),
        *(other, others.mark(EMAIL, SINCE), f"{mark}\n", "a" * 5000),
        f"{other.split('.')[0]}.{until}.{proof}",
    ):
        assert devices.known(wrong, EMAIL, SINCE) is None
    assert devices.known(mark, "eve@example.com", SINCE) is None


def test_a_mark_is_good_for_one_password_and_for_half_a_year():
    clock = [1_000_000.0]
    devices = Devices(b"k" * 32, lambda: clock[0])
    mark = devices.mark(EMAIL, SINCE)
    assert devices.known(mark, EMAIL, SINCE + timedelta(milliseconds=1)) is None
    assert devices.known(mark, EMAIL, None) is None
    clock[0] += MARK_TTL - 1
    known = devices.known(mark, EMAIL, SINCE)
    assert known is not None
    renewed = devices.renewed(known, mark, EMAIL, SINCE)
    clock[0] += 1
    assert devices.known(mark, EMAIL, SINCE) is None
    assert devices.known(renewed, EMAIL, SINCE).name == known.name


async def test_a_mark_ends_with_the_password(database):
    tries = TriesOnAClock()
    async with browser_for(accounts_for(database, tries=tries)) as thief:
        await register(thief, EMAIL)
        body = {"current_password": PASSWORD, "new_password": ANOTHER}
        assert (await thief.post(CHANGE, json=body)).status_code == 204
        before = set(tries.names)
        for _ in range(10):
            await log_in(thief, EMAIL)
        unmarked = tries.names - before
        assert throttled(await log_in(thief, EMAIL), 300)
        thief.cookies.clear()
        assert throttled(await log_in(thief, EMAIL), 300)
        assert tries.names - before == unmarked


# -- by address ------------------------------------------------------------------------------------


def visit(address="", device_mark=""):
    return Visit(device_mark=device_mark, user_agent="", request_id="r", address=address)


async def guess(auth, address, email=EMAIL, password=ANOTHER, device_mark=""):
    """How a guess ends: 401, 429, or 200."""
    try:
        await auth.accounts.sign_in(email, password, visit(address, device_mark))
    except RowlockError as refusal:
        return refusal.status
    return 200


async def test_a_guesser_keeps_no_owner_out_who_comes_from_elsewhere(database):
    auth = accounts_for(database, tries=TriesOnAClock())
    async with browser_for(auth) as owner:
        await register(owner, EMAIL)
    for email in (EMAIL, "nobody@example.com"):
        told = [await guess(auth, "192.0.2.7", email) for _ in range(12)]
        assert told == [401] * 10 + [429] * 2
    assert await guess(auth, "198.51.100.1", password=PASSWORD) == 200
    assert await guess(auth, "192.0.2.7", password=PASSWORD) == 429


@pytest.mark.parametrize("email", [EMAIL, "nobody@example.com"])
async def test_all_addresses_together_have_a_hundred_tries(database, email):
    tries = TriesOnAClock()
    auth = accounts_for(database, tries=tries)
    async with browser_for(auth) as owner:
        await register(owner, EMAIL)
    told = [await guess(auth, f"192.0.2.{n}", email) for n in range(120)]
    assert told == [401] * 100 + [429] * 20
    with pytest.raises(RateLimited) as refused:
        await auth.accounts.sign_in(email, ANOTHER, visit("192.0.2.200"))
    assert refused.value.retry_after == 30
    tries.now = 30.0
    assert [await guess(auth, f"203.0.113.{n}", email) for n in range(2)] == [401, 429]


async def test_many_marks_of_one_account_share_a_hundred_tries(database):
    auth = accounts_for(database, tries=TriesOnAClock())
    marks = []
    for _ in range(11):
        async with browser_for(auth) as browser:
            if not marks:
                await register(browser, EMAIL)
            else:
                assert (await log_in(browser, EMAIL)).status_code == 200
            marks.append(browser.cookies["rowlock_device"])
    told = [await guess(auth, "", device_mark=mark) for mark in marks for _ in range(10)]
    assert told == [401] * 100 + [429] * 10


class Stuck(CountingHasher):
    """Verifies nothing until it is let."""

    def __init__(self):
        super().__init__()
        self.let = threading.Event()

    def verify(self, kept, password):
        assert self.let.wait(10)
        return super().verify(kept, password)


async def settled(tasks, done):
    """Wait until so many are done: those that were turned away."""
    async with asyncio.timeout(10):
        while sum(task.done() for task in tasks) < done:
            await asyncio.sleep(0.005)


OPEN = THREADS + MAX_WAITING - RESERVED
"""Places for those who are not known."""


async def test_who_is_turned_away_at_the_queue_has_used_up_no_try(database):
    hasher = Stuck()
    auth = accounts_for(database, hasher, TriesOnAClock())
    async with browser_for(auth) as owner:
        await register(owner, EMAIL)
    storm = [
        asyncio.create_task(guess(auth, f"192.0.2.{n}", f"{n}@example.com")) for n in range(OPEN)
    ]
    queue = auth.accounts._passwords._queue
    await until(lambda: queue._taken == OPEN, 10, "all places are taken")
    late = [asyncio.create_task(guess(auth, "198.51.100.1")) for _ in range(20)]
    await settled(late, 20)
    hasher.let.set()
    assert await asyncio.gather(*storm) == [401] * OPEN
    assert await asyncio.gather(*late) == [429] * 20
    assert [await guess(auth, "198.51.100.1") for _ in range(11)] == [401] * 10 + [429]


async def test_a_storm_leaves_places_to_browsers_that_are_known(database):
    hasher = Stuck()
    auth = accounts_for(database, hasher, TriesOnAClock())
    async with browser_for(auth) as owner:
        await register(owner, EMAIL)
        mark = owner.cookies["rowlock_device"]
    storm = [
        asyncio.create_task(guess(auth, f"192.0.2.{n}", f"{n}@example.com"))
        for n in range(OPEN + 20)
    ]
    await settled(storm, 20)
    mine = asyncio.create_task(guess(auth, "198.51.100.1", EMAIL, PASSWORD, mark))
    await asyncio.sleep(0.05)
    hasher.let.set()
    assert await mine == 200
    assert sorted(await asyncio.gather(*storm)) == [401] * OPEN + [429] * 20


async def test_one_address_waits_at_few_places(database):
    hasher = Stuck()
    auth = accounts_for(database, hasher, TriesOnAClock())
    storm = [asyncio.create_task(guess(auth, "192.0.2.7", f"{n}@example.com")) for n in range(20)]
    await settled(storm, 20 - PER_ADDRESS)
    other = asyncio.create_task(guess(auth, "192.0.2.8", EMAIL))
    await asyncio.sleep(0.05)
    hasher.let.set()
    assert await other == 401
    told = await asyncio.gather(*storm)
    assert sorted(told) == [401] * PER_ADDRESS + [429] * (20 - PER_ADDRESS)
    assert await guess(auth, "192.0.2.7", "21@example.com") == 401


async def test_the_current_password_cannot_be_guessed_from_within_a_session(database):
    tries, hasher = TriesOnAClock(), CountingHasher()
    async with browser_for(accounts_for(database, hasher, tries)) as thief:
        await register(thief, EMAIL)
        before = hasher.verified
        body = {"current_password": ANOTHER, "new_password": PASSWORD}
        answers = [await thief.post(CHANGE, json=body) for _ in range(12)]
    assert [answer.status_code for answer in answers] == [403] * 10 + [429] * 2
    assert hasher.verified - before == 10


async def test_what_is_counted_names_nobody(database):
    tries = TriesOnAClock()
    async with browser_for(accounts_for(database, tries=tries)) as guesser:
        await log_in(guesser, EMAIL, PASSWORD)
    assert len(tries.names) == 2
    assert not any(part in name for name in tries.names for part in (EMAIL, "pat", "example"))


async def test_those_that_are_refused_do_not_fill_the_audit_log(database):
    async with browser_for(accounts_for(database, tries=TriesOnAClock())) as guesser:
        for _ in range(40):
            await log_in(guesser, EMAIL, ANOTHER)
    assert await audit_of(database) == [("auth.failed", "refused", "unknown_account")] * 10


# -- the cookie ------------------------------------------------------------------------------------


async def test_the_mark_is_kept_from_pages_and_other_hosts(database):
    origin = "https://rowlock.test"
    auth = accounts_for(database, public_url=origin)
    async with browser_for(auth, origin) as person:
        await register(person, EMAIL)
        answer = await log_in(person, EMAIL)
    cookies = {line.split("=")[0]: line for line in answer.headers.get_list("set-cookie")}
    assert cookies.keys() == {"__Host-rowlock_refresh", "__Host-rowlock_device"}
    for cookie in cookies.values():
        for flag in ("; HttpOnly", "; Secure", "; Path=/", "; SameSite=strict"):
            assert flag in cookie


async def test_a_known_browser_keeps_its_mark(database):
    async with browser_for(accounts_for(database)) as person:
        await register(person, EMAIL)
        mark = person.cookies["rowlock_device"]
        await log_in(person, EMAIL)
        assert person.cookies["rowlock_device"] == mark
        await register(person, "other@example.com")
        assert person.cookies["rowlock_device"] != mark


# -- as the server does it -------------------------------------------------------------------------


async def test_the_server_limits_each_account(valkey, mongo):
    """With its real buckets: burst and pace are those of class `password`."""
    limit = CLASSES["password"].account
    assert (limit.burst, 1 / limit.per_second) == (10, 300)
    async with running(valkey, mongo) as server, stranger(server.url) as guesser:
        email = await register(guesser)
        guesser.cookies.clear()
        for who in (email, an_email("unknown")):
            answers = await asyncio.gather(*(log_in(guesser, who, ANOTHER) for _ in range(14)))
            assert sorted(a.status_code for a in answers) == [401] * 10 + [429] * 4
            answer = await log_in(guesser, who, PASSWORD)
            problem(answer, 429, "rate_limited")
            assert 200 < int(answer.headers["retry-after"]) <= 300


async def test_without_limits_there_are_none(valkey, mongo):
    async with running(valkey, mongo, rate_limits="off") as server, stranger(server.url) as guesser:
        answers = [await log_in(guesser, an_email("x"), ANOTHER) for _ in range(2)]
        email = an_email()
        answers += [await log_in(guesser, email, ANOTHER) for _ in range(12)]
    assert {answer.status_code for answer in answers} == {401}
