"""The seat scripts, one by one, on every kind of store."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from server.errors import (
    ExtensionLimitReached,
    LockExpired,
    SeatLimitReached,
    SeatsUnavailable,
    ShowtimeClosed,
    StoreUnavailable,
)
from server.repo.keys import PARTITIONS, partition_of, showtime_keys
from server.repo.redis import server_version
from server.repo.seat_answers import Claim, SeatsTaken, ShowtimeNotLoaded
from tests.seat_stores import SHOWTIME, Stores, opened

SOON = datetime.now(UTC) + timedelta(hours=1)


@pytest.fixture
async def stores(any_redis_url: str) -> AsyncIterator[Stores]:
    async with opened(any_redis_url) as stores:
        await stores.load()
        yield stores


@pytest.fixture
async def quick(any_redis_url: str) -> AsyncIterator[Stores]:
    """Locks last a second."""
    async with opened(any_redis_url, ttl_seconds=1) as stores:
        await stores.load()
        yield stores


async def lapse(stores: Stores, user: str) -> None:
    """Wait until Redis says that the user's lock is over."""
    while await stores.seats.lock_of(SHOWTIME, user):
        await asyncio.sleep(0.02)


def claim(booking: str, seats: list[str], *, booked: bool = False, expires_at: int = 0) -> Claim:
    return Claim(booking, "usr_owner", seats, booked, expires_at)


async def test_the_store_is_new_enough(stores: Stores) -> None:
    assert await server_version(stores.redis) >= (7, 0)


# -- lock ----------------------------------------------------------------------------------------


async def test_lock_takes_all_seats_under_one_number(stores: Stores) -> None:
    before = await stores.seq()
    lock = await stores.seats.lock(SHOWTIME, "ann", ["A1", "A2"], "req")
    assert lock.seats == ["A1", "A2"]
    assert (lock.remaining_ms, lock.extensions_left) == (300_000, 2)
    assert await stores.taken() == {"A1": "l", "A2": "l"}
    assert await stores.seq() == before + 1
    (entry,) = await stores.log()
    assert (entry.type, entry.owner_id, entry.request_id) == ("seat.locked", "ann", "req")


async def test_lock_is_all_or_nothing(stores: Stores) -> None:
    await stores.seats.lock(SHOWTIME, "ann", ["A2"], "")
    await stores.claims.claim(SHOWTIME, claim("bk", ["A3"], booked=True))
    before = await stores.seq()
    with pytest.raises(SeatsUnavailable) as refused:
        await stores.seats.lock(SHOWTIME, "bob", ["A1", "A2", "A3", "A4"], "")
    locked, booked = refused.value.fields["unavailable"]
    assert (locked["seat"], locked["state"]) == ("A2", "locked")
    assert 299_000 < locked["retry_in_ms"] <= 300_000
    assert booked == {"seat": "A3", "state": "booked"}
    assert await stores.taken() == {"A2": "l", "A3": "b"}
    assert await stores.seq() == before
    assert await stores.seats.lock_of(SHOWTIME, "bob") is None


async def test_more_seats_join_the_lock_and_do_not_move_its_deadline(stores: Stores) -> None:
    first = await stores.seats.lock(SHOWTIME, "ann", ["A1"], "")
    await asyncio.sleep(0.005)
    second = await stores.seats.lock(SHOWTIME, "ann", ["A1", "A2"], "")
    assert (second.id, second.expires_at) == (first.id, first.expires_at)
    assert second.seats == ["A1", "A2"]
    assert second.remaining_ms < first.remaining_ms


async def test_locking_my_own_seats_again_changes_and_announces_nothing(stores: Stores) -> None:
    await stores.seats.lock(SHOWTIME, "ann", ["A1", "A2"], "")
    before = await stores.seq()
    again = await stores.seats.lock(SHOWTIME, "ann", ["A2", "A1"], "")
    assert again.seats == ["A1", "A2"]
    assert await stores.seq() == before


async def test_the_cap_counts_seats_in_lock_and_in_checkout(stores: Stores) -> None:
    await stores.seats.lock(SHOWTIME, "ann", [f"A{n}" for n in range(6)], "")
    await stores.claims.begin_checkout(SHOWTIME, "ann", "bk", ["A0", "A1", "A2", "A3"])
    await stores.seats.lock(SHOWTIME, "ann", [f"B{n}" for n in range(4)], "")
    with pytest.raises(SeatLimitReached):
        await stores.seats.lock(SHOWTIME, "ann", ["C1"], "")
    assert "C1" not in await stores.taken()
    seats = ["A0", "A1", "A2", "A3"]
    assert await stores.claims.release(SHOWTIME, "bk", seats, reason="cancelled") == seats
    await stores.seats.lock(SHOWTIME, "ann", ["C1"], "")


async def test_eleven_seats_are_too_many_and_none_is_locked(stores: Stores) -> None:
    with pytest.raises(SeatLimitReached) as refused:
        await stores.seats.lock(SHOWTIME, "ann", [f"A{n}" for n in range(11)], "")
    assert refused.value.fields == {"limit": 10}
    assert await stores.taken() == {}


async def test_a_closed_showtime_locks_nothing(any_redis_url: str) -> None:
    async with opened(any_redis_url) as stores:
        await stores.load(closes_in=timedelta(seconds=-1))
        with pytest.raises(ShowtimeClosed):
            await stores.seats.lock(SHOWTIME, "ann", ["A1"], "")
        assert await stores.taken() == {}


async def test_a_blocked_seat_is_not_for_sale(any_redis_url: str) -> None:
    async with opened(any_redis_url) as stores:
        await stores.load(blocked=["A1"])
        with pytest.raises(SeatsUnavailable) as refused:
            await stores.seats.lock(SHOWTIME, "ann", ["A1"], "")
        assert refused.value.fields["unavailable"] == [{"seat": "A1", "state": "blocked"}]
        assert await stores.taken() == {"A1": "x"}


# -- a lock past its deadline ----------------------------------------------------------------------


async def test_who_needs_a_lapsed_seat_releases_the_whole_lock_first(quick: Stores) -> None:
    await quick.seats.lock(SHOWTIME, "ann", ["A1", "A2", "A3"], "")
    await lapse(quick, "ann")
    assert await quick.taken() == {"A1": "l", "A2": "l", "A3": "l"}  # nobody was told yet
    before = await quick.seq()
    await quick.seats.lock(SHOWTIME, "bob", ["A2"], "")
    assert await quick.taken() == {"A2": "l"}
    assert await quick.seq() == before + 1
    assert (await quick.events())[-2:] == [
        ("seat.released", ["A1", "A2", "A3"], "expired"),
        ("seat.locked", ["A2"], ""),
    ]


async def test_my_own_lapsed_lock_gives_way_to_a_new_one(quick: Stores) -> None:
    first = await quick.seats.lock(SHOWTIME, "ann", ["A1", "A2"], "")
    await lapse(quick, "ann")
    second = await quick.seats.lock(SHOWTIME, "ann", ["A2"], "")
    assert second.id != first.id
    assert second.seats == ["A2"]
    assert await quick.taken() == {"A2": "l"}


async def test_a_refused_lock_leaves_a_lapsed_one_alone(quick: Stores) -> None:
    await quick.claims.claim(SHOWTIME, claim("bk", ["B1"], booked=True))
    await quick.seats.lock(SHOWTIME, "ann", ["A1"], "")
    await lapse(quick, "ann")
    before = await quick.seq()
    with pytest.raises(SeatsUnavailable):
        await quick.seats.lock(SHOWTIME, "bob", ["A1", "B1"], "")
    assert await quick.seq() == before
    assert await quick.taken() == {"A1": "l", "B1": "b"}


async def test_expire_releases_once_and_never_too_early(quick: Stores) -> None:
    await quick.seats.lock(SHOWTIME, "ann", ["A1", "A2"], "")
    assert await quick.seats.due_locks(partition_of(SHOWTIME), 10) == []
    assert not await quick.seats.expire(SHOWTIME, "ann")
    await lapse(quick, "ann")
    assert await quick.seats.due_locks(partition_of(SHOWTIME), 10) == [(SHOWTIME, "ann")]
    assert await quick.seats.expire(SHOWTIME, "ann")
    assert not await quick.seats.expire(SHOWTIME, "ann")
    assert await quick.taken() == {}
    assert await quick.seats.due_locks(partition_of(SHOWTIME), 10) == []
    assert (await quick.events())[-1] == ("seat.released", ["A1", "A2"], "expired")


# -- extend, release, revoke -----------------------------------------------------------------------


async def test_extend_gives_a_fresh_ttl_twice(stores: Stores) -> None:
    first = await stores.seats.lock(SHOWTIME, "ann", ["A1"], "")
    await asyncio.sleep(0.005)
    once = await stores.seats.extend(SHOWTIME, "ann", "")
    assert once.expires_at > first.expires_at
    assert (once.id, once.remaining_ms, once.extensions_left) == (first.id, 300_000, 1)
    assert (await stores.seats.extend(SHOWTIME, "ann", "")).extensions_left == 0
    with pytest.raises(ExtensionLimitReached):
        await stores.seats.extend(SHOWTIME, "ann", "")


async def test_extend_run_twice_as_one_operation_extends_once(stores: Stores) -> None:
    await stores.seats.lock(SHOWTIME, "ann", ["A1"], "")
    args = {"showtime": SHOWTIME, "user": "ann", "ttl_ms": 300_000, "max_extensions": 2}
    answers = [
        await stores.scripts.run(
            "extend_lock", showtime_keys(SHOWTIME), **args, operation="same", request_id=""
        )
        for _ in range(3)
    ]
    assert {(word, reply[3], reply[4]) for word, reply in answers} == {
        ("ok", answers[0][1][3], 1),
    }
    logged = [{flat[1] for flat in reply[0]} for _, reply in answers]
    assert len(logged[0]) == 1
    assert all(logged[0] < ids for ids in logged[1:]), "a repeat tells what the first has logged"


async def test_extend_without_a_live_lock_is_refused(quick: Stores) -> None:
    with pytest.raises(LockExpired):
        await quick.seats.extend(SHOWTIME, "ann", "")
    await quick.seats.lock(SHOWTIME, "ann", ["A1"], "")
    await lapse(quick, "ann")
    with pytest.raises(LockExpired):
        await quick.seats.extend(SHOWTIME, "ann", "")


async def test_release_frees_only_what_is_mine(stores: Stores) -> None:
    await stores.seats.lock(SHOWTIME, "ann", ["A1", "A2"], "")
    await stores.seats.lock(SHOWTIME, "bob", ["B1"], "")
    released, rest = await stores.seats.release(SHOWTIME, "ann", ["A1", "B1", "C1"], "")
    assert released == ["A1"]
    assert rest is not None
    assert rest.seats == ["A2"]
    assert await stores.taken() == {"A2": "l", "B1": "l"}
    assert await stores.seats.release(SHOWTIME, "ann", [], "") == (["A2"], None)
    assert await stores.seats.release(SHOWTIME, "ann", [], "") == ([], None)
    assert await stores.taken() == {"B1": "l"}


async def test_release_run_twice_as_one_operation_answers_the_same(stores: Stores) -> None:
    await stores.seats.lock(SHOWTIME, "ann", ["A1", "A2"], "")
    keys = {
        **showtime_keys(SHOWTIME),
        "operation_key": f"{showtime_keys(SHOWTIME)['seats_key']}:op",
    }
    answers = [
        await stores.scripts.run(
            "release_seats", keys, ["A1"], showtime=SHOWTIME, user="ann", request_id=""
        )
        for _ in range(2)
    ]
    assert [reply[0] for _, reply in answers] == ["A1", "A1"]
    assert await stores.taken() == {"A2": "l"}
    assert [event for event, _, _ in await stores.events()] == ["seat.locked", "seat.released"]


async def test_releasing_a_lapsed_lock_announces_its_expiry(quick: Stores) -> None:
    await quick.seats.lock(SHOWTIME, "ann", ["A1"], "")
    await lapse(quick, "ann")
    assert await quick.seats.release(SHOWTIME, "ann", [], "") == ([], None)
    assert await quick.taken() == {}
    assert (await quick.events())[-1] == ("seat.released", ["A1"], "expired")


async def test_revoke_takes_seats_from_whosever_lock_but_not_from_bookings(stores: Stores) -> None:
    await stores.seats.lock(SHOWTIME, "ann", ["A1", "A2"], "")
    await stores.seats.lock(SHOWTIME, "bob", ["B1"], "")
    await stores.claims.claim(SHOWTIME, claim("bk", ["C1"], booked=True))
    assert await stores.seats.revoke(SHOWTIME, "boss", ["A1", "B1", "C1", "D1"], "") == ["A1", "B1"]
    assert await stores.taken() == {"A2": "l", "C1": "b"}
    assert await stores.seats.lock_of(SHOWTIME, "bob") is None
    revoked = [entry for entry in await stores.log() if entry.reason == "revoked"]
    assert {(entry.actor_id, entry.owner_id) for entry in revoked} == {
        ("boss", "ann"),
        ("boss", "bob"),
    }


async def test_locks_lists_the_live_ones(quick: Stores) -> None:
    await quick.seats.lock(SHOWTIME, "ann", ["A1"], "")
    await lapse(quick, "ann")
    await quick.seats.lock(SHOWTIME, "bob", ["B1", "B2"], "")
    assert [(lock.user_id, lock.seats) for lock in await quick.seats.locks(SHOWTIME)] == [
        ("bob", ["B1", "B2"])
    ]


# -- bookings --------------------------------------------------------------------------------------


async def test_checkout_keeps_the_deadline_and_shows_nothing(stores: Stores) -> None:
    lock = await stores.seats.lock(SHOWTIME, "ann", ["A1", "A2", "A3"], "")
    before = await stores.seq()
    for _ in range(2):  # the second run answers as the first
        checkout = await stores.claims.begin_checkout(SHOWTIME, "ann", "bk", ["A1", "A2"])
        assert checkout is not None
        assert checkout[0] == lock.expires_at
    assert await stores.seq() == before
    assert await stores.taken() == {"A1": "l", "A2": "l", "A3": "l"}
    rest = await stores.seats.lock_of(SHOWTIME, "ann")
    assert rest is not None
    assert rest.seats == ["A3"]
    with pytest.raises(SeatsUnavailable):
        await stores.seats.lock(SHOWTIME, "ann", ["A1"], "")


async def test_checkout_needs_all_seats_in_my_live_lock(quick: Stores) -> None:
    await quick.seats.lock(SHOWTIME, "ann", ["A1"], "")
    await quick.seats.lock(SHOWTIME, "bob", ["B1"], "")
    assert await quick.claims.begin_checkout(SHOWTIME, "ann", "bk", ["A1", "B1"]) is None
    await lapse(quick, "ann")
    assert await quick.claims.begin_checkout(SHOWTIME, "ann", "bk", ["A1"]) is None


async def test_a_checkout_that_never_became_a_booking_is_freed_after_its_deadline(
    quick: Stores,
) -> None:
    await quick.seats.lock(SHOWTIME, "ann", ["A1", "A2"], "")
    await quick.claims.begin_checkout(SHOWTIME, "ann", "bk", ["A1", "A2"])
    assert await quick.claims.release(SHOWTIME, "bk", [], reason="expired") == []
    async with asyncio.timeout(5):
        while not await quick.claims.due_checkouts(partition_of(SHOWTIME), 10):
            await asyncio.sleep(0.02)
    with pytest.raises(LockExpired):
        await quick.claims.begin_checkout(SHOWTIME, "ann", "bk", ["A1", "A2"])
    assert await quick.claims.release(SHOWTIME, "bk", [], reason="expired") == ["A1", "A2"]
    assert await quick.taken() == {}


async def test_late_news_of_an_ended_booking_takes_no_seats(stores: Stores) -> None:
    await stores.claims.claim(SHOWTIME, claim("bk", ["A1"]))
    await stores.claims.release(SHOWTIME, "bk", ["A1"], reason="cancelled")
    await stores.claims.claim(SHOWTIME, claim("bk", ["A1"]))
    await stores.claims.claim(SHOWTIME, claim("bk", ["A1"], booked=True))
    assert await stores.taken() == {}


async def test_a_sale_is_shown_although_its_checkout_was_given_up(stores: Stores) -> None:
    await stores.claims.claim(SHOWTIME, claim("bk", ["A1"]))
    await stores.claims.release(SHOWTIME, "bk", ["A1"], reason="expired")
    await stores.claims.claim(SHOWTIME, claim("bk", ["A1"], booked=True))
    assert await stores.taken() == {"A1": "b"}


async def test_book_marks_announces_once_and_frees_the_cap(stores: Stores) -> None:
    await stores.seats.lock(SHOWTIME, "ann", ["A1", "A2"], "")
    await stores.claims.begin_checkout(SHOWTIME, "ann", "bk", ["A1", "A2"])
    for _ in range(2):
        await stores.claims.claim(SHOWTIME, claim("bk", ["A1", "A2"], booked=True))
    assert await stores.taken() == {"A1": "b", "A2": "b"}
    assert [event for event, _, _ in await stores.events()] == ["seat.locked", "seat.booked"]
    assert await stores.claims.due_checkouts(partition_of(SHOWTIME), 10) == []
    await stores.seats.lock(SHOWTIME, "ann", [f"B{n}" for n in range(10)], "")


async def test_a_booking_that_mongodb_judged_takes_its_seats_from_a_lock(stores: Stores) -> None:
    await stores.seats.lock(SHOWTIME, "ann", ["A1", "A2"], "")
    await stores.claims.claim(SHOWTIME, claim("bk", ["A2", "A3"], booked=True))
    assert await stores.taken() == {"A1": "l", "A2": "b", "A3": "b"}
    lock = await stores.seats.lock_of(SHOWTIME, "ann")
    assert lock is not None
    assert lock.seats == ["A1"]


@pytest.mark.parametrize("booked", [False, True])
async def test_a_booking_never_takes_another_bookings_seat(stores: Stores, booked: bool) -> None:
    await stores.claims.claim(SHOWTIME, claim("bk1", ["A1"], booked=True))
    before = await stores.seq()
    with pytest.raises(SeatsTaken):
        await stores.claims.claim(SHOWTIME, claim("bk2", ["A1", "A2"], booked=booked))
    assert await stores.taken() == {"A1": "b"}
    assert await stores.seq() == before


async def test_claiming_again_changes_nothing(stores: Stores) -> None:
    for _ in range(2):
        await stores.claims.claim(SHOWTIME, claim("bk", ["A1"], expires_at=1))
    assert await stores.taken() == {"A1": "l"}
    assert len(await stores.log()) == 1
    assert await stores.claims.due_checkouts(partition_of(SHOWTIME), 10) == [(SHOWTIME, "bk")]


async def test_a_stale_claim_does_not_undo_a_sale(stores: Stores) -> None:
    await stores.claims.claim(SHOWTIME, claim("bk", ["A1"], booked=True))
    await stores.claims.claim(SHOWTIME, claim("bk", ["A1"]))
    assert await stores.taken() == {"A1": "b"}


async def test_release_of_a_booking_frees_only_its_own_seats(stores: Stores) -> None:
    await stores.claims.claim(SHOWTIME, claim("bk1", ["A1"], booked=True))
    await stores.claims.claim(SHOWTIME, claim("bk2", ["A2"], booked=True))
    freed = await stores.claims.release(SHOWTIME, "bk1", ["A1", "A2"], reason="cancelled")
    assert freed == ["A1"]
    assert await stores.claims.release(SHOWTIME, "bk1", ["A1", "A2"], reason="cancelled") == []
    assert await stores.taken() == {"A2": "b"}


# -- loading ---------------------------------------------------------------------------------------


async def test_an_unknown_showtime_refuses_everything(any_redis_url: str) -> None:
    async with opened(any_redis_url) as stores:
        attempts = [
            lambda: stores.seats.lock(SHOWTIME, "ann", ["A1"], ""),
            lambda: stores.seats.extend(SHOWTIME, "ann", ""),
            lambda: stores.seats.release(SHOWTIME, "ann", [], ""),
            lambda: stores.seats.revoke(SHOWTIME, "ann", ["A1"], ""),
            lambda: stores.seats.lock_of(SHOWTIME, "ann"),
            lambda: stores.seats.locks(SHOWTIME),
            lambda: stores.seats.read(SHOWTIME),
            lambda: stores.claims.begin_checkout(SHOWTIME, "ann", "bk", ["A1"]),
            lambda: stores.claims.claim(SHOWTIME, claim("bk", ["A1"])),
            lambda: stores.claims.claim(SHOWTIME, claim("bk", ["A1"], booked=True)),
            lambda: stores.claims.release(SHOWTIME, "bk", ["A1"], reason="cancelled"),
        ]
        for attempt in attempts:
            with pytest.raises(ShowtimeNotLoaded):
                await attempt()
        assert await (await stores.server()).dbsize() == 0


async def test_rebuild_puts_in_what_mongodb_says_under_a_new_epoch(stores: Stores) -> None:
    await stores.seats.lock(SHOWTIME, "ann", ["A1"], "")
    old = await stores.seats.read(SHOWTIME)
    assert old is not None
    owned = [claim("bk1", ["B1", "B2"], booked=True), claim("bk2", ["C1"], expires_at=2**42)]
    await stores.load(blocked=["X1"], claims=owned, stale_epoch=old.epoch)
    new = await stores.seats.read(SHOWTIME)
    assert new is not None
    assert new.epoch != old.epoch
    assert new.taken == {"B1": "b", "B2": "b", "C1": "l", "X1": "x"}
    assert await stores.seats.lock_of(SHOWTIME, "ann") is None


async def test_only_one_has_the_right_to_rebuild(any_redis_url: str) -> None:
    async with opened(any_redis_url) as stores:
        assert await stores.claims.begin_rebuild(SHOWTIME, "first", "") == "ok"
        assert await stores.claims.begin_rebuild(SHOWTIME, "second", "") == "busy"
        await (await stores.server()).flushall()
        assert await stores.claims.begin_rebuild(SHOWTIME, "second", "") == "ok"
        for token, done in (("first", False), ("second", True)):
            assert done == await stores.claims.rebuild(
                SHOWTIME,
                token,
                closes_at=SOON,
                blocked=[],
                claims=[claim(token, ["A1"], booked=True)],
            )
        assert await stores.claims.begin_rebuild(SHOWTIME, "third", "") == "loaded"
        assert await stores.claims.begin_rebuild(SHOWTIME, "third", "another epoch") == "loaded"
        assert await stores.redis.hget(showtime_keys(SHOWTIME)["seats_key"], "A1") == "b:second"


async def test_eighty_thousand_seats_load_and_read(any_redis_url: str) -> None:
    async with opened(any_redis_url) as stores:
        seats = [f"S{n}" for n in range(80_000)]
        big = [claim("bk1", seats[:40_000], booked=True), claim("bk2", seats[40_000:60_000])]
        await stores.load(blocked=seats[60_000:], claims=big)
        taken = await stores.taken()
        assert len(taken) == 80_000
        assert (taken["S0"], taken["S40000"], taken["S79999"]) == ("b", "l", "x")


async def test_reading_at_the_current_position_says_nothing_new(stores: Stores) -> None:
    states = await stores.seats.read(SHOWTIME)
    assert states is not None
    assert await stores.seats.read(SHOWTIME, states.epoch, states.seq) is None
    await stores.seats.lock(SHOWTIME, "ann", ["A1"], "")
    assert await stores.seats.read(SHOWTIME, states.epoch, states.seq) is not None


async def test_positions_come_in_one_answer(stores: Stores) -> None:
    known, unknown = await stores.seats.positions([SHOWTIME, "sho_none"])
    assert isinstance(known, tuple)
    assert known[1] == 1
    assert unknown is None


async def test_every_partition_has_its_own_queues(stores: Stores) -> None:
    for partition in PARTITIONS:
        assert await stores.seats.due_locks(partition, 10) == []
        assert await stores.claims.due_checkouts(partition, 10) == []


# -- faults ----------------------------------------------------------------------------------------


async def test_scripts_survive_a_script_flush(stores: Stores) -> None:
    await stores.seats.lock(SHOWTIME, "ann", ["A1"], "")
    await (await stores.server()).script_flush()
    await stores.seats.lock(SHOWTIME, "ann", ["A2"], "")
    assert await stores.taken() == {"A1": "l", "A2": "l"}


async def test_scripts_survive_any_number_of_script_flushes_at_once(stores: Stores) -> None:
    async def forget() -> None:
        for _ in range(50):
            await (await stores.server()).script_flush()

    locks = [stores.seats.lock(SHOWTIME, f"user{n}", [f"A{n}"], "") for n in range(50)]
    await asyncio.gather(forget(), *locks)
    assert len(await stores.taken()) == 50


async def test_a_store_that_is_not_there_is_unavailable() -> None:
    async with opened("redis://127.0.0.1:1/0") as stores:
        with pytest.raises(StoreUnavailable):
            await stores.seats.lock(SHOWTIME, "ann", ["A1"], "")


async def test_a_full_store_is_unavailable_and_changes_nothing(stores: Stores) -> None:
    server = await stores.server()
    await server.config_set("maxmemory", "1")
    try:
        with pytest.raises(StoreUnavailable):
            await stores.seats.lock(SHOWTIME, "ann", ["A1"], "")
    finally:
        await server.config_set("maxmemory", "0")
    assert await stores.taken() == {}
    assert await stores.seats.lock_of(SHOWTIME, "ann") is None


async def test_a_script_refuses_arguments_that_its_header_does_not_name(stores: Stores) -> None:
    with pytest.raises(TypeError, match="read_lock takes user"):
        await stores.scripts.run("read_lock", showtime_keys(SHOWTIME), usr="ann")


async def test_a_hundred_buyers_of_one_seat_make_one_owner(stores: Stores) -> None:
    attempts = [stores.seats.lock(SHOWTIME, f"user{n}", ["A1"], "") for n in range(100)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    winners = [result for result in results if not isinstance(result, BaseException)]
    assert len(winners) == 1
    owner = await stores.redis.hget(showtime_keys(SHOWTIME)["seats_key"], "A1")
    assert owner == f"l:{winners[0].user_id}"
