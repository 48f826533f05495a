"""The values of the catalogue: what they refuse, and what they work out."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfoNotFoundError

import pytest

from server.catalogue import Layout, Row, Seat
from tests.programme import CINEMA, LAYOUT, NOW, a_showtime, money


def test_a_layout_knows_its_seats_in_the_order_drawn():
    assert LAYOUT.seat_ids == ("A1", "A2", "A3", "B1", "B2")
    assert LAYOUT.index == {"A1": 0, "A2": 1, "A3": 2, "B1": 3, "B2": 4}
    assert LAYOUT.categories == {"standard", "premium"}
    assert [LAYOUT.category(seat) for seat in ("A3", "B1")] == ["standard", "premium"]
    with pytest.raises(KeyError):
        LAYOUT.category("C1")


def test_a_layout_renders_as_the_seat_map_shows_it_and_reads_back_the_same():
    drawing = Layout((Row("A", (Seat("A1", 0.0, accessible=True), Seat("A2", 1.5, "sofa"))),))
    expected = [
        {"id": "A1", "x": 0, "category": "standard", "accessible": True},
        {"id": "A2", "x": 1.5, "category": "sofa", "accessible": False},
    ]
    assert drawing.as_json() == {"rows": [{"label": "A", "seats": expected}]}
    assert isinstance(drawing.as_json()["rows"][0]["seats"][0]["x"], int)
    assert Layout.from_json(drawing.as_json()) == drawing


def test_the_id_of_a_layout_is_its_content():
    seat = Seat("A1", 3)
    drawn = Layout((Row("A", (seat,)),))
    assert drawn.id == Layout((Row("A", (Seat("A1", 3.0),)),)).id
    others = [
        Layout((Row("B", (seat,)),)),
        *(
            Layout((Row("A", (replace(seat, **change),)),))
            for change in (
                {"id": "A2"},
                {"x": 3.5},
                {"category": "premium"},
                {"accessible": True},
            )
        ),
    ]
    assert len({drawn.id, *(other.id for other in others)}) == 6


@pytest.mark.parametrize(
    ("draw", "reason"),
    [
        (lambda: Layout(()), "at least one seat"),
        (lambda: Layout((Row("A", ()),)), "has no seats"),
        (lambda: Layout((Row("A", (Seat("A1", 0),)), Row("B", (Seat("A1", 0),)))), "drawn twice"),
        (lambda: Seat("", 0), "not a seat id"),
        (lambda: Seat("A1\n", 0), "not a seat id"),
        (lambda: Seat("A" * 17, 0), "not a seat id"),
        (lambda: Seat("{A1}", 0), "not a seat id"),
        (lambda: Seat("A1", 0, "$where"), "not a category"),
        (lambda: Seat("A1", 0, "a.b"), "not a category"),
        (lambda: Seat("A1", -0.5), "0 or more"),
        (lambda: Seat("A1", float("nan")), "0 or more"),
        (lambda: Seat("A1", float("inf")), "0 or more"),
    ],
)
def test_what_is_no_drawing_is_refused(draw, reason):
    with pytest.raises(ValueError, match=reason):
        draw()


def test_a_price_is_the_sum_over_the_categories_of_the_seats():
    showtime = a_showtime("sho_a")
    assert showtime.price_of(["A1", "A2", "B1"]) == money(3500)
    assert showtime.price_of([]) == money(0)
    with pytest.raises(KeyError):
        showtime.price_of(["A1", "Z9"])


def test_sales_close_when_the_showtime_starts():
    assert a_showtime("sho_a", NOW).closes_at == NOW


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ends_at": NOW}, "ends before it starts"),
        ({"prices": {"standard": money(1)}}, "no price for premium"),
        ({"prices": {"standard": money(1), "premium": money(1, "GBP")}}, "mixes currencies"),
        ({"blocked": frozenset({"A1", "Z9"})}, "unknown seats"),
    ],
)
def test_a_showtime_that_does_not_fit_together_is_refused(changes, reason):
    with pytest.raises(ValueError, match=reason):
        a_showtime("sho_a", **changes)


@pytest.mark.parametrize(
    ("zone", "day", "begins", "hours"),
    [
        ("Europe/London", date(2026, 1, 15), datetime(2026, 1, 15, 0, tzinfo=UTC), 24),
        ("Europe/London", date(2026, 3, 29), datetime(2026, 3, 29, 0, tzinfo=UTC), 23),
        ("Europe/Berlin", date(2026, 10, 25), datetime(2026, 10, 24, 22, tzinfo=UTC), 25),
        ("Asia/Kolkata", date(2026, 7, 1), datetime(2026, 6, 30, 18, 30, tzinfo=UTC), 24),
        # The clock jumps from midnight to one: the day begins with the jump.
        ("Africa/Cairo", date(2026, 4, 24), datetime(2026, 4, 23, 22, tzinfo=UTC), 23),
        # The clock falls back from one to midnight: the day begins with the first pass.
        ("America/Havana", date(2026, 11, 1), datetime(2026, 11, 1, 4, tzinfo=UTC), 25),
    ],
)
def test_a_local_day_follows_the_clock_on_the_wall(zone, day, begins, hours):
    cinema = replace(CINEMA, time_zone=zone)
    since, until = cinema.local_day(day)
    assert since == begins
    assert until - since == timedelta(hours=hours)
    assert cinema.local_day(day + timedelta(days=1))[0] == until


def test_a_showing_keeps_its_hour_on_the_wall_when_the_clocks_change():
    berlin = replace(CINEMA, time_zone="Europe/Berlin")
    before, after = (berlin.local(date(2026, 3, day), time(20)) for day in (28, 29))
    assert after - before == timedelta(hours=23)


def test_a_zone_that_does_not_exist_is_an_error_and_not_utc():
    with pytest.raises(ZoneInfoNotFoundError):
        replace(CINEMA, time_zone="Europe/Atlantis").local_day(date(2026, 1, 1))
