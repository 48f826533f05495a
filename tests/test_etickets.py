"""Ticket codes, their QR, the calendar entry, and who gets to see which."""

import hmac
import re
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import icalendar
import pytest

from server.etickets import TicketCodes, qr_png, qr_svg
from server.models import new_id
from tests.auth_flow import JWT_SECRET, settings_for
from tests.programme import MOVIE, a_movie
from tests.qr import read_qr
from tests.running import HALL_CINEMA, IN_MODULE_LOOP, booked, pay, problem, served

pytestmark = IN_MODULE_LOOP

server = served()

CODES = TicketCodes(JWT_SECRET)


async def sold(server, *seats, client=None, **changes):
    """A paid booking: its id."""
    client = client or server.bob
    showtime = await server.showtime(**changes)
    booking = await booked(client, showtime, *seats)
    assert (await pay(client, booking)).status_code == 200
    return booking


# -- codes ----------------------------------------------------------------------------------------


async def test_a_code_names_its_booking():
    code = CODES.code_of("bk_0123")
    assert re.fullmatch(r"RL1\.bk_0123\.[A-Za-z0-9_-]{22}", code)
    assert CODES.booking_in(code) == "bk_0123"
    assert TicketCodes(JWT_SECRET).code_of("bk_0123") == code


async def test_what_was_not_signed_here_is_forged():
    code = CODES.code_of("bk_0123")
    signature = code.rpartition(".")[2]
    other = "B" if signature[0] == "A" else "A"
    for forged in (
        f"RL1.bk_0124.{signature}",
        f"RL1.bk_0123.{other}{signature[1:]}",
        TicketCodes("another-secret-of-at-least-32-characters").code_of("bk_0123"),
    ):
        with pytest.raises(ValueError, match="forged"):
            CODES.booking_in(forged)


async def test_a_ticket_outlives_a_change_of_the_secret():
    """As long as the old secret is named; new tickets are signed under the new one."""
    code = CODES.code_of("bk_0123")
    after = TicketCodes("another-secret-of-at-least-32-characters", JWT_SECRET)
    assert after.booking_in(code) == "bk_0123"
    assert after.code_of("bk_0123") != code
    settings = settings_for(jwt_secret="x" * 40, jwt_previous_secrets=f"y, {JWT_SECRET}")
    assert TicketCodes(*settings.secrets).booking_in(code) == "bk_0123"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "RL1",
        "RL1..",
        f"RL2.bk_0123.{'A' * 22}",
        f"RL1.bk_0123.{'A' * 21}",
        f"RL1.b k.{'A' * 22}",
        f"RL1.bk_0123.{'Ä' * 22}",
        f"RL1.bk_0123.{'A' * 22}\n",
        f"RL1.\ud800.{'A' * 22}",
    ],
    ids=range(9),
)
async def test_what_is_no_code_is_malformed(text):
    with pytest.raises(ValueError, match="malformed"):
        CODES.booking_in(text)


async def test_the_key_is_not_the_one_of_access_tokens():
    """A signature made by the bare secret is none."""
    bare = hmac.digest(JWT_SECRET.encode(), b"RL1.bk_0123", "sha256")[:16]
    with pytest.raises(ValueError, match="forged"):
        CODES.booking_in(f"RL1.bk_0123.{urlsafe_b64encode(bare).rstrip(b'=').decode()}")


async def test_the_picture_holds_the_code():
    code = CODES.code_of(f"bk_{'a' * 32}")
    assert read_qr(qr_png(code)) == code
    assert qr_svg(code).startswith(b"<svg ")
    assert b"#fff" in qr_svg(code)  # readable on a dark page too


# -- the owner's ----------------------------------------------------------------------------------


async def test_the_owner_gets_the_qr_and_nobody_keeps_a_copy(server):
    booking = await sold(server, "A1", "A2")
    answer = await server.bob.get(f"/api/bookings/{booking}/ticket.svg")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.content == qr_svg(CODES.code_of(booking))


async def test_the_calendar_tells_when_on_the_clock_of_the_cinema(server):
    starts_at = datetime(2027, 7, 1, 19, 30, tzinfo=UTC)
    title = "Me, You; and\r\nSUMMARY:Nobody"
    booking = await sold(
        server,
        "A1",
        "B2",
        starts_in=starts_at - datetime.now(UTC),
        movie=a_movie("mov_c", title=title),
    )
    row = await server.stored.database["showtimes"].find_one(sort=[("_id", -1)])
    answer = await server.bob.get(f"/api/bookings/{booking}/calendar.ics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/calendar")
    assert answer.headers["cache-control"] == "private, no-store"
    assert f'filename="{booking}.ics"' in answer.headers["content-disposition"]
    calendar = icalendar.Calendar.from_ical(answer.text)
    (event,) = calendar.walk("VEVENT")
    assert event["UID"] == f"{booking}@rowlock"
    start = event["DTSTART"].dt
    assert start == row["starts_at"].replace(microsecond=0)
    assert event["DTSTART"].params["TZID"] == HALL_CINEMA.time_zone == "Europe/London"
    assert start.hour == 20  # summer time
    assert event["DTEND"].dt - start == timedelta(minutes=100)
    assert event["SUMMARY"].replace("\r", "") == title.replace("\r", "")
    assert "A1, B2" in event["DESCRIPTION"]
    assert HALL_CINEMA.name in event["LOCATION"]
    (alarm,) = event.walk("VALARM")
    assert alarm["TRIGGER"].dt == timedelta(hours=-2)
    (zone,) = calendar.walk("VTIMEZONE")
    assert zone["TZID"] == "Europe/London"
    assert zone.to_tz().utcoffset(start.replace(tzinfo=None)) == timedelta(hours=1)
    assert start.replace(tzinfo=ZoneInfo("Europe/London")).utcoffset() == timedelta(hours=1)


async def test_a_second_look_at_the_calendar_is_the_same_entry(server):
    booking = await sold(server, "A1", "A2")
    before, after = [], []
    for seen in (before, after):
        answer = await server.bob.get(f"/api/bookings/{booking}/calendar.ics")
        (event,) = icalendar.Calendar.from_ical(answer.text).walk("VEVENT")
        seen += [event["UID"], event["SEQUENCE"]]
        await server.bob.delete(f"/api/bookings/{booking}?seats=A1")
    assert after == [before[0], before[1] + 1]
    assert "A2" in event["DESCRIPTION"]
    assert "A1" not in event["DESCRIPTION"]


@pytest.mark.parametrize("what", ["ticket.svg", "calendar.ics"])
async def test_nobody_else_gets_it(server, what):
    booking = await sold(server, "A3")
    path = f"/api/bookings/{booking}/{what}"
    problem(await server.eve.get(path), 404, "not_found")
    problem(await server.ada.get(path), 404, "not_found")
    problem(await server.visitor.get(path), 401, "unauthenticated")
    problem(await server.bob.get(f"/api/bookings/bk_nothing/{what}"), 404, "not_found")


@pytest.mark.parametrize("what", ["ticket.svg", "calendar.ics"])
async def test_what_is_not_paid_for_has_no_ticket(server, what):
    pending = await booked(server.bob, await server.showtime(), "A1")
    answer = await server.bob.get(f"/api/bookings/{pending}/{what}")
    assert problem(answer, 409, "booking_state")["booking_status"] == "pending"
    cancelled = await sold(server, "A1")
    await server.bob.delete(f"/api/bookings/{cancelled}")
    answer = await server.bob.get(f"/api/bookings/{cancelled}/{what}")
    assert problem(answer, 409, "booking_state")["booking_status"] == "cancelled"


# -- at the door ----------------------------------------------------------------------------------


async def check(client, code):
    return await client.post("/api/admin/tickets/check", json={"code": code})


async def test_a_good_ticket_tells_its_booking_and_seats(server):
    booking = await sold(server, "B1", "B2")
    answer = await check(server.ada, CODES.code_of(booking))
    assert answer.status_code == 200
    body = answer.json()
    assert body["valid"] is True
    assert "reason" not in body
    assert body["booking"]["id"] == booking
    assert body["booking"]["seats"] == ["B1", "B2"]
    assert body["booking"]["status"] == "confirmed"
    assert body["booking"]["showtime"]["movie"]["title"] == MOVIE.title


async def test_a_ticket_stays_good_for_the_seats_that_are_left(server):
    booking = await sold(server, "B1", "B2")
    await server.bob.delete(f"/api/bookings/{booking}?seats=B1")
    body = (await check(server.ada, CODES.code_of(booking))).json()
    assert (body["valid"], body["booking"]["seats"]) == (True, ["B2"])


async def test_a_ticket_of_a_cancelled_booking_is_refused_with_its_booking(server):
    booking = await sold(server, "B1")
    await server.bob.delete(f"/api/bookings/{booking}")
    body = (await check(server.ada, CODES.code_of(booking))).json()
    assert (body["valid"], body["reason"]) == (False, "not_confirmed")
    assert body["booking"]["status"] == "cancelled"


async def test_what_is_no_ticket_of_ours_is_refused(server):
    booking = await sold(server, "B1")
    code = CODES.code_of(booking)
    for text, reason in [
        ("hello", "malformed"),
        (code.replace("bk_", "bk_0"), "forged"),
        (CODES.code_of(new_id("bk")), "unknown"),
    ]:
        answer = await check(server.ada, text)
        assert answer.json() == {"valid": False, "reason": reason}


async def test_tickets_are_checked_by_administrators_alone(server):
    code = CODES.code_of(await sold(server, "B3"))
    problem(await check(server.bob, code), 403, "forbidden")
    problem(await check(server.visitor, code), 401, "unauthenticated")
    problem(await check(server.ada, ""), 422, "invalid_request")
    problem(await check(server.ada, "x" * 257), 422, "invalid_request")
