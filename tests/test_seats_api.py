"""Seat map and seat locks over HTTP, held to what Redis really stores."""

import asyncio
import re
from datetime import datetime, timedelta

import pytest

from server.repo.keys import showtime_keys
from tests.running import (
    HALL,
    IN_MODULE_LOOP,
    booked,
    eventually,
    lock,
    pay,
    problem,
    served,
    states,
    user_id,
)

pytestmark = IN_MODULE_LOOP

server = served()
brisk = served("brisk", seat_lock_ttl=1)

TTL_MS = 300_000
ELEVEN = [f"A{n}" for n in range(1, 9)] + ["B1", "B2", "B3"]


def path(showtime, rest=""):
    return f"/api/showtimes/{showtime}/seats/lock{rest}"


def locked(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["lock"]


async def my_lock(client, showtime):
    return (await client.get(path(showtime))).json()["lock"]


# -- the map -----------------------------------------------------------------------------------


async def test_the_map_has_a_drawing_prices_a_position_and_one_state_per_seat(server):
    showtime = await server.showtime(blocked=frozenset({"A8"}))
    await lock(server.bob, showtime, "A1", "B8")
    sold = await booked(server.eve, showtime, "A3")
    await pay(server.eve, sold)
    claimed = await booked(server.eve, showtime, "A4")
    answer = await server.visitor.get(f"/api/showtimes/{showtime}/seat-map")
    body = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert body.keys() == {"showtime_id", "layout", "prices", "epoch", "seq", "states"}
    assert body["showtime_id"] == showtime
    assert body["layout"] == HALL.as_json()
    assert body["layout"]["rows"][0]["seats"][0] == {
        "id": "A1",
        "x": 0,
        "category": "standard",
        "accessible": True,
    }
    assert body["prices"] == {
        "standard": {"currency": "EUR", "minor": 1000},
        "premium": {"currency": "EUR", "minor": 1500},
    }
    assert body["states"] == "l.bl...x" + ".......l"
    stored = await server.stored.seats(showtime)
    assert (stored["A3"], stored["A4"]) == (f"b:{sold}", f"c:{claimed}")
    meta = await server.stored.redis.hgetall(showtime_keys(showtime)["meta_key"])
    assert (body["epoch"], body["seq"]) == (meta["epoch"], int(meta["seq"]))


async def test_the_map_tells_nothing_about_people(server):
    showtime = await server.showtime()
    held = locked(await lock(server.bob, showtime, "A1"))
    text = (await server.visitor.get(f"/api/showtimes/{showtime}/seat-map")).text
    assert await user_id(server.bob) not in text
    assert held["id"] not in text


@pytest.mark.parametrize("form", ["{}", "W/{}", '"another", {}', "*"])
async def test_an_unchanged_map_is_not_sent_again(server, form):
    showtime = await server.showtime()
    address = f"/api/showtimes/{showtime}/seat-map"
    etag = (await server.visitor.get(address)).headers["etag"]
    assert re.fullmatch(r'"[!-~]+"', etag)
    again = await server.visitor.get(address, headers={"If-None-Match": form.format(etag)})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)


async def test_a_changed_map_is_sent_again(server):
    showtime = await server.showtime()
    address = f"/api/showtimes/{showtime}/seat-map"
    first = await server.visitor.get(address)
    await lock(server.bob, showtime, "A1")
    headers = {"If-None-Match": first.headers["etag"]}
    second = await server.visitor.get(address, headers=headers)
    assert second.status_code == 200
    assert second.headers["etag"] != first.headers["etag"]
    assert second.json()["seq"] == first.json()["seq"] + 1


# -- locking -----------------------------------------------------------------------------------


async def test_a_lock_names_its_seats_and_its_deadline(server):
    showtime = await server.showtime()
    answer = locked(await lock(server.bob, showtime, "A1", "A2"))
    assert answer.keys() == {
        "id",
        "showtime_id",
        "seats",
        "expires_at",
        "expires_in_ms",
        "extensions_left",
    }
    assert answer["showtime_id"] == showtime
    assert answer["seats"] == ["A1", "A2"]
    assert answer["extensions_left"] == 2
    assert answer["expires_in_ms"] == TTL_MS
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", answer["expires_at"])
    ends = datetime.fromisoformat(answer["expires_at"])
    assert abs((ends - datetime.now(ends.tzinfo)).total_seconds() - 300) < 5
    bob = await user_id(server.bob)
    assert await server.stored.seats(showtime) == {"A1": f"l:{bob}", "A2": f"l:{bob}"}
    assert await my_lock(server.bob, showtime) | {"expires_in_ms": TTL_MS} == answer


async def test_more_seats_join_the_lock_and_do_not_move_its_deadline(server):
    showtime = await server.showtime()
    first = locked(await lock(server.bob, showtime, "A1"))
    await asyncio.sleep(0.01)
    second = locked(await lock(server.bob, showtime, "B1", "A1"))
    assert second["seats"] == ["A1", "B1"]
    assert second["expires_in_ms"] < first["expires_in_ms"]
    same = {"id", "expires_at", "extensions_left"}
    assert {name: second[name] for name in same} == {name: first[name] for name in same}


async def test_seats_that_are_already_mine_change_nothing(server):
    showtime = await server.showtime()
    first = locked(await lock(server.bob, showtime, "A1", "A2"))
    before = await server.stored.image(showtime)
    again = locked(await lock(server.bob, showtime, "A2", "A1"))
    assert again | {"expires_in_ms": TTL_MS} == first
    assert await server.stored.image(showtime) == before


async def test_all_seats_or_none(server):
    showtime = await server.showtime()
    await lock(server.eve, showtime, "A1")
    sold = await booked(server.eve, showtime, "A2")
    await pay(server.eve, sold)
    claimed = await booked(server.eve, showtime, "A4")
    before = await server.stored.seats(showtime)
    refusal = problem(
        await lock(server.bob, showtime, "A1", "A2", "A3", "A4"), 409, "seats_unavailable"
    )
    told = {entry["seat"]: entry for entry in refusal["unavailable"]}
    assert [entry["seat"] for entry in refusal["unavailable"]] == ["A1", "A2", "A4"]
    assert told["A2"] == {"seat": "A2", "state": "booked"}
    for seat in ("A1", "A4"):
        assert told[seat].keys() == {"seat", "state", "retry_in_ms"}
        assert told[seat]["state"] == "locked"
        assert TTL_MS - 10_000 < told[seat]["retry_in_ms"] <= TTL_MS
    assert await server.stored.seats(showtime) == before
    assert before["A4"] == f"c:{claimed}"
    assert await my_lock(server.bob, showtime) is None


async def test_a_refused_addition_leaves_the_lock_as_it_was(server):
    showtime = await server.showtime()
    mine = locked(await lock(server.bob, showtime, "A1"))
    await lock(server.eve, showtime, "A2")
    problem(await lock(server.bob, showtime, "A3", "A2"), 409, "seats_unavailable")
    assert (await my_lock(server.bob, showtime))["seats"] == mine["seats"]
    assert "A3" not in await server.stored.seats(showtime)


async def test_a_blocked_seat_is_refused(server):
    showtime = await server.showtime(blocked=frozenset({"A1"}))
    refusal = problem(await lock(server.bob, showtime, "A1"), 409, "seats_unavailable")
    assert [entry["seat"] for entry in refusal["unavailable"]] == ["A1"]


async def test_eleven_seats_at_once_are_refused_and_none_is_locked(server):
    showtime = await server.showtime()
    refusal = problem(await lock(server.bob, showtime, *ELEVEN), 409, "seat_limit_reached")
    assert refusal["limit"] == 10
    assert await server.stored.seats(showtime) == {}


async def test_the_eleventh_seat_is_refused_also_one_by_one(server):
    showtime = await server.showtime()
    locked(await lock(server.bob, showtime, *ELEVEN[:10]))
    problem(await lock(server.bob, showtime, ELEVEN[10]), 409, "seat_limit_reached")
    assert (await my_lock(server.bob, showtime))["seats"] == ELEVEN[:10]
    assert ELEVEN[10] not in await server.stored.seats(showtime)


async def test_seats_in_an_open_booking_count_for_the_cap(server):
    showtime = await server.showtime()
    await booked(server.bob, showtime, *ELEVEN[:8])
    locked(await lock(server.bob, showtime, *ELEVEN[8:10]))
    problem(await lock(server.bob, showtime, ELEVEN[10]), 409, "seat_limit_reached")


async def test_two_people_for_one_seat_one_gets_it(server):
    showtime = await server.showtime()
    answers = await asyncio.gather(
        *(lock(client, showtime, "A1", "A2") for client in (server.bob, server.eve) * 5)
    )
    winners = {a.request.headers["Authorization"] for a in answers if a.status_code == 200}
    assert len(winners) == 1
    owners = set((await server.stored.seats(showtime)).values())
    assert len(owners) == 1
    assert sorted(a.status_code for a in answers) == [200] * 5 + [409] * 5


async def test_a_lock_is_one_per_showtime(server):
    one, other = await server.showtime(), await server.showtime()
    first, second = await lock(server.bob, one, "A1"), await lock(server.bob, other, "A1")
    assert locked(first)["id"] != locked(second)["id"]
    assert (await my_lock(server.bob, one))["seats"] == ["A1"]


# -- extending ---------------------------------------------------------------------------------


async def test_a_lock_is_extended_twice_and_no_more(server):
    showtime = await server.showtime()
    first = locked(await lock(server.bob, showtime, "A1"))
    for left in (1, 0):
        await asyncio.sleep(0.01)
        extended = locked(await server.bob.post(path(showtime, "/extend")))
        assert extended["extensions_left"] == left
        assert extended["expires_in_ms"] == TTL_MS
        assert extended["expires_at"] > first["expires_at"]
        assert (extended["id"], extended["seats"]) == (first["id"], first["seats"])
    before = await my_lock(server.bob, showtime)
    refusal = problem(
        await server.bob.post(path(showtime, "/extend")), 409, "extension_limit_reached"
    )
    assert refusal["limit"] == 2
    assert (await my_lock(server.bob, showtime))["expires_at"] == before["expires_at"]


async def test_joining_seats_gives_no_fresh_extension(server):
    showtime = await server.showtime()
    await lock(server.bob, showtime, "A1")
    await server.bob.post(path(showtime, "/extend"))
    assert locked(await lock(server.bob, showtime, "A2"))["extensions_left"] == 1


async def test_without_a_lock_there_is_nothing_to_extend(server):
    showtime = await server.showtime()
    await lock(server.eve, showtime, "A1")
    problem(await server.bob.post(path(showtime, "/extend")), 409, "lock_expired")


# -- releasing ---------------------------------------------------------------------------------


async def test_named_seats_are_released_and_only_what_was_mine(server):
    showtime = await server.showtime()
    await lock(server.eve, showtime, "A3")
    held = locked(await lock(server.bob, showtime, "A1", "A2"))
    answer = (await server.bob.delete(path(showtime, "?seats=A2,A3,A4"))).json()
    assert answer["released"] == ["A2"]
    assert answer["lock"]["seats"] == ["A1"]
    assert answer["lock"]["expires_at"] == held["expires_at"]
    assert await states(server.visitor, showtime) == {"A1": "l", "A3": "l"}
    eve = await user_id(server.eve)
    assert (await server.stored.seats(showtime))["A3"] == f"l:{eve}"


async def test_without_names_everything_is_released(server):
    showtime = await server.showtime()
    await lock(server.bob, showtime, "A1", "A2")
    answer = (await server.bob.delete(path(showtime))).json()
    assert answer == {"released": ["A1", "A2"], "lock": None}
    assert await server.stored.seats(showtime) == {}
    assert (await server.bob.delete(path(showtime))).json() == {"released": [], "lock": None}
    assert await my_lock(server.bob, showtime) is None


async def test_releasing_leaves_what_is_being_booked(server):
    showtime = await server.showtime()
    await lock(server.bob, showtime, "A1", "A2")
    booking = await booked(server.bob, showtime, "A1")
    assert (await server.bob.delete(path(showtime))).json()["released"] == ["A2"]
    assert await server.stored.seats(showtime) == {"A1": f"c:{booking}"}


async def test_a_list_given_twice_is_refused_not_halved(server):
    showtime = await server.showtime()
    await lock(server.bob, showtime, "A1", "A2")
    answer = await server.bob.delete(path(showtime, "?seats=A1&seats=A2"))
    problem(answer, 422, "invalid_request")
    assert (await my_lock(server.bob, showtime))["seats"] == ["A1", "A2"]


# -- time --------------------------------------------------------------------------------------


async def test_a_lock_ends_by_itself(brisk):
    showtime = await brisk.showtime()
    assert locked(await lock(brisk.bob, showtime, "A1"))["expires_in_ms"] == 1000

    async def gone():
        return await my_lock(brisk.bob, showtime) is None

    await eventually(gone)
    problem(await brisk.bob.post(path(showtime, "/extend")), 409, "lock_expired")
    assert locked(await lock(brisk.eve, showtime, "A1"))["seats"] == ["A1"]


async def test_a_lapsed_lock_is_swept_from_the_map(brisk):
    showtime = await brisk.showtime()
    await lock(brisk.bob, showtime, "A1", "A2")

    async def swept():
        return await brisk.stored.seats(showtime) == {}

    await eventually(swept)
    assert await states(brisk.visitor, showtime) == {}


# -- where locks are not to be had -------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"starts_in": -timedelta(seconds=1)}, {"status": "closed"}])
async def test_a_closed_showtime_locks_nothing(server, changes):
    showtime = await server.showtime(**changes)
    problem(await lock(server.bob, showtime, "A1"), 409, "showtime_closed")
    problem(await server.bob.post(path(showtime, "/extend")), 409, "showtime_closed")
    assert await server.stored.seats(showtime) == {}
    assert await my_lock(server.bob, showtime) is None


async def test_a_lock_may_still_be_given_back_after_the_start(server):
    showtime = await server.showtime(starts_in=timedelta(seconds=3))
    locked(await lock(server.bob, showtime, "A1"))

    async def closed():
        return (await lock(server.bob, showtime, "A2")).status_code == 409

    await eventually(closed)
    assert (await server.bob.delete(path(showtime))).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("showtime", ["sho_nowhere", "a.b", "%7B%7D", "A" * 65])
async def test_an_unknown_showtime_is_not_found(server, method, showtime):
    body = {"json": {"seats": ["A1"]}} if method == "POST" else {}
    answer = await server.bob.request(method, path(showtime), **body)
    problem(answer, 404, "not_found")


@pytest.mark.parametrize("rest", ["seat-map", "seats/lock", "seats/locks", "seats/lock/extend"])
async def test_every_seat_address_wants_a_showtime_that_is(server, rest):
    method = "POST" if rest.endswith("extend") else "GET"
    answer = await server.ada.request(method, f"/api/showtimes/sho_nowhere/{rest}")
    problem(answer, 404, "not_found")


# -- administrators ----------------------------------------------------------------------------


async def test_an_administrator_sees_who_holds_what(server):
    showtime = await server.showtime()
    held = [locked(await lock(server.bob, showtime, "A1", "A2"))]
    held.append(locked(await lock(server.eve, showtime, "A3")))
    body = (await server.ada.get(f"/api/showtimes/{showtime}/seats/locks")).json()
    owners = [await user_id(server.eve), await user_id(server.bob)]
    assert [item["user_id"] for item in body["items"]] == owners, "newest first"
    assert body["next_cursor"] is None
    for item, lock_ in zip(body["items"], reversed(held), strict=True):
        assert item.pop("user_id")
        assert item | {"expires_in_ms": TTL_MS} == lock_


async def test_the_list_of_locks_comes_in_pages(server):
    showtime = await server.showtime()
    for client, seat in ((server.bob, "A1"), (server.eve, "A2"), (server.ada, "A3")):
        await lock(client, showtime, seat)
    seen, cursor = [], {}
    for _ in range(3):
        body = (
            await server.ada.get(
                f"/api/showtimes/{showtime}/seats/locks", params={"limit": 1, **cursor}
            )
        ).json()
        assert len(body["items"]) == 1
        seen += body["items"][0]["seats"]
        cursor = {"cursor": body["next_cursor"]}
    assert body["next_cursor"] is None
    assert seen == ["A3", "A2", "A1"]


async def test_an_administrator_revokes_seats_of_others(server):
    showtime = await server.showtime()
    await lock(server.bob, showtime, "A1", "A2")
    await lock(server.eve, showtime, "A3")
    claimed = await booked(server.eve, showtime, "A4")
    address = f"/api/showtimes/{showtime}/seats/locks"
    answer = await server.ada.delete(f"{address}?seats=A1,A3,A4,A5")
    assert answer.status_code == 200
    assert sorted(answer.json()["released"]) == ["A1", "A3"]
    bob = await user_id(server.bob)
    assert await server.stored.seats(showtime) == {"A2": f"l:{bob}", "A4": f"c:{claimed}"}
    assert await my_lock(server.eve, showtime) is None
    assert (await my_lock(server.bob, showtime))["seats"] == ["A2"]


async def test_revoking_wants_names(server):
    showtime = await server.showtime()
    await lock(server.bob, showtime, "A1")
    for query in ("", "?seats=", "?seats=A1&seats=A2", "?all=true"):
        answer = await server.ada.delete(f"/api/showtimes/{showtime}/seats/locks{query}")
        problem(answer, 422, "invalid_request")
    assert (await my_lock(server.bob, showtime))["seats"] == ["A1"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_locks_of_others_are_for_administrators(server, method):
    showtime = await server.showtime()
    await lock(server.eve, showtime, "A1")
    address = f"/api/showtimes/{showtime}/seats/locks?seats=A1"
    problem(await server.bob.request(method, address), 403, "forbidden")
    problem(await server.visitor.request(method, address), 401, "unauthenticated")
    assert (await my_lock(server.eve, showtime))["seats"] == ["A1"]


async def test_unknown_seats_are_named(server):
    showtime = await server.showtime()
    refusal = problem(await lock(server.bob, showtime, "A1", "Z9", "Z8"), 422, "unknown_seats")
    assert refusal["seats"] == ["Z9", "Z8"]
    assert await server.stored.seats(showtime) == {}
    answer = await server.bob.delete(path(showtime, "?seats=Z9"))
    assert problem(answer, 422, "unknown_seats")["seats"] == ["Z9"]
