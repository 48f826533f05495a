"""What bookings have flagged is taken over once; a hall that is almost full is noticed once."""

import asyncio

import pytest

from server.mail import SmtpMailer
from server.repo.bookings import BookingRepo
from server.repo.notifications import NotificationRepo
from tests.post_office import (
    Crash,
    Recorded,
    emptied,
    notifications_of,
    one_sale,
    post_office,
    sold,
    sold_out,
    somebody,
)
from tests.running import IN_MODULE_LOOP, plan
from tests.smtp_sink import sinking
from tests.stored import stocked

pytestmark = IN_MODULE_LOOP

stored = stocked()
_empty = emptied()


# -- taking over ----------------------------------------------------------------------------------


async def test_a_flag_that_comes_again_is_the_notice_that_is_known(stored):
    booking = await one_sale(stored)
    mailer = Recorded()
    office = post_office(stored, mailer)
    await office.run()
    again = {"$set": {"notices": ["confirmed"]}}
    await stored.database["bookings"].update_one({"_id": booking.id}, again)
    await office.run()
    assert len(mailer.mails) == 1
    assert (await stored.booking(booking.id))["notices"] == []


async def test_a_crash_between_the_row_and_the_flag_loses_nothing_and_doubles_nothing(stored):
    class DiesFirst(BookingRepo):
        async def noticed(self, booking_id, notice):
            raise Crash

    booking = await one_sale(stored)
    mailer = Recorded()
    with pytest.raises(Crash):
        await post_office(stored, mailer, bookings=DiesFirst(stored.database)).run()
    assert (await notifications_of(stored, booking.id))["confirmed"]["status"] == "due"
    assert (await stored.booking(booking.id))["notices"] == ["confirmed"]
    await post_office(stored, mailer).run()
    assert len(mailer.mails) == 1


# -- almost sold out ------------------------------------------------------------------------------


async def test_administrators_are_told_once_when_a_hall_is_almost_full(stored):
    admins = [await somebody(stored, name, "ADMIN") for name in ("Ada", "Abe")]
    buyer = await somebody(stored)
    showtime = (await sold_out(stored, buyer, 89))[0].showtime_id
    async with sinking() as sink:
        mailer = SmtpMailer(sink.url, "t@cinema.test")

        async def all_at_once():
            for _ in range(2):
                offices = [post_office(stored, mailer) for _ in range(3)]
                await asyncio.gather(*(office.run() for office in offices))

        await all_at_once()
        assert len(sink.mails) == 89, "the tickets"
        for seats in (["A90"], ["A91", "A92"], ["A93"]):
            await sold(stored, showtime, seats, buyer)
            await all_at_once()
        assert len(sink.mails) == 89 + 3 + len(admins)
    for admin in admins:
        (mail,) = sink.to(admin.email)
        assert mail["Subject"].startswith("Almost sold out: A Film")
        assert "90 of 100 seats are booked" in mail.get_body(("plain",)).get_content()
    rows = await notifications_of(stored, showtime)
    assert rows["almost-sold-out"]["_id"] == f"{showtime}:almost-sold-out"
    assert set(rows) == {"almost-sold-out", *(f"almost-sold-out:{admin.id}" for admin in admins)}
    told = await stored.database["audit_outbox"].find({"action": "admin.alerted"}).to_list(None)
    assert [row["target"] for row in told] == [{"showtime_id": showtime}]
    assert told[0]["detail"] == {"about": "almost-sold-out", "booked": 90, "for_sale": 100}


async def test_seats_without_a_sale_do_not_count(stored):
    """Reserved, or given back: only what is booked at that moment."""
    buyer = await somebody(stored)
    await somebody(stored, "Ada", "ADMIN")
    first, *_ = await sold_out(stored, buyer, 90)
    paying = {"$set": {"status": "paying"}}
    await stored.database["bookings"].update_one({"_id": first.id}, paying)
    mailer = Recorded()
    await post_office(stored, mailer).run()
    assert await notifications_of(stored, first.showtime_id) == {}


async def test_seats_that_are_not_for_sale_do_not_count(stored):
    await somebody(stored, "Ada", "ADMIN")
    showtime = await plan(stored.database, blocked=frozenset(f"B{n}" for n in range(1, 9)))
    await sold(stored, showtime, [f"A{n}" for n in range(1, 9)], await somebody(stored))
    mailer = Recorded()
    await post_office(stored, mailer).run()
    assert "almost-sold-out" in await notifications_of(stored, showtime)


async def test_a_crash_while_telling_administrators_is_made_good(stored):
    class DiesFirst(NotificationRepo):
        async def add(self, about, notice):
            raise Crash

    ada = await somebody(stored, "Ada", "ADMIN")
    (booking,) = await sold_out(stored, await somebody(stored), 1)
    mailer = Recorded()
    dying = post_office(stored, mailer, 1, notifications=DiesFirst(stored.database))
    with pytest.raises(Crash):
        await dying.run()
    await post_office(stored, mailer, 1).run()
    name = f"{booking.showtime_id}.almost-sold-out.{ada.id}"
    assert sorted(mailer.names) == sorted([name, f"{booking.id}.confirmed"])
    assert await stored.database["audit_outbox"].count_documents({"action": "admin.alerted"}) == 1


async def test_who_is_no_administrator_any_more_is_not_told(stored):
    ada = await somebody(stored, "Ada", "ADMIN")
    await sold_out(stored, await somebody(stored), 1)
    mailer = Recorded()
    office = post_office(stored, mailer, 1)
    await office.notices.run_once()
    await stored.database["users"].update_one({"_id": ada.id}, {"$set": {"role": "USER"}})
    await office.deliver()
    assert [mail.address for mail in mailer.mails] == ["bob@example.com"]
