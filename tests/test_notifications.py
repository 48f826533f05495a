"""The notifier: every notice arrives, once as a rule, whatever dies, refuses or goes away."""

import asyncio
import logging
from datetime import UTC

import pytest

from server import mail
from server.mail import MailPostponed, MailRefused, MailServerAway, SmtpMailer
from server.notifications import ALERT_AFTER, GIVE_UP_AFTER, LEASE_SECONDS, LONGEST_WAIT
from server.parts import build_parts
from server.repo.notifications import NotificationRepo
from tests.auth_flow import settings_for
from tests.post_office import (
    Crash,
    Recorded,
    alerts,
    emptied,
    let_claims_lapse,
    notifications_of,
    one_sale,
    post_office,
    sold_out,
    somebody,
)
from tests.running import IN_MODULE_LOOP, eventually
from tests.smtp_sink import sinking
from tests.stored import stocked

pytestmark = IN_MODULE_LOOP

stored = stocked()
_empty = emptied()


async def status_of(stored, booking, notice="confirmed"):
    return (await notifications_of(stored, booking.id))[notice]["status"]


# -- in order --------------------------------------------------------------------------------------


async def test_a_sale_is_told_once(stored):
    booking = await one_sale(stored)
    mailer = Recorded()
    office = post_office(stored, mailer)
    assert await office.run() == 1
    assert mailer.names == [f"{booking.id}.confirmed"]
    row = (await notifications_of(stored, booking.id))["confirmed"]
    assert (row["_id"], row["status"]) == (f"{booking.id}:confirmed", "sent")
    assert (await stored.booking(booking.id))["notices"] == []
    assert await office.run() == 0
    assert len(mailer.mails) == 1


async def test_a_wipe_of_redis_loses_no_mail(stored):
    booking = await one_sale(stored)
    await stored.redis.flushdb()
    mailer = Recorded()
    await post_office(stored, mailer).run()
    assert mailer.names == [f"{booking.id}.confirmed"]


async def test_what_was_cancelled_meanwhile_gets_no_ticket(stored):
    booking = await one_sale(stored)
    mailer = Recorded()
    office = post_office(stored, mailer)
    assert await office.bookings.cancel(booking, "buyer", [])
    await office.run()
    assert mailer.mails == []
    assert await status_of(stored, booking) == "dropped"


# -- many at once, and deaths in between -----------------------------------------------------------


async def test_two_at_once_send_each_of_a_hundred_once(stored):
    bookings = await sold_out(stored, await somebody(stored))
    async with sinking() as sink:
        offices = [post_office(stored, SmtpMailer(sink.url, "t@cinema.test")) for _ in range(2)]
        for _ in range(2):
            await asyncio.gather(*(office.run() for office in offices))
    told = [mail["Message-ID"] for mail in sink.mails]
    assert sorted(told) == sorted(f"<{booking.id}.confirmed@cinema.test>" for booking in bookings)


async def test_a_crash_after_sending_repeats_the_same_mail(stored):
    booking = await one_sale(stored)
    async with sinking() as sink:

        class DiesAfterwards(NotificationRepo):
            async def sent(self, claimed):
                raise Crash

        mailer = SmtpMailer(sink.url, "t@cinema.test")
        dying = post_office(stored, mailer, notifications=DiesAfterwards(stored.database))
        with pytest.raises(Crash):
            await dying.run()
        assert len(sink.mails) == 1
        other = post_office(stored, mailer)
        assert await other.run() == 0, "the claim has not lapsed"
        await let_claims_lapse(stored)
        assert await other.run() == 1
    assert sink.ids == [f"<{booking.id}.confirmed@cinema.test>"] * 2
    assert await status_of(stored, booking) == "sent"


async def test_a_claim_lasts_as_long_as_it_says_on_the_clock_of_the_store(stored):
    booking = await one_sale(stored)
    office = post_office(stored, Recorded(Crash()))
    with pytest.raises(Crash):
        await office.run()
    now = (await stored.database.command("hello"))["localTime"].replace(tzinfo=UTC)
    row = (await notifications_of(stored, booking.id))["confirmed"]
    left = (row["next_at"] - now).total_seconds()
    assert LEASE_SECONDS - 5 < left <= LEASE_SECONDS
    assert await office.notifications.claim(1) is None


async def test_a_claim_outlives_every_mail_on_its_way():
    on_its_way = mail.CONNECT_SECONDS + mail.TRANSFER_SECONDS + mail._QUIT_SECONDS
    assert on_its_way + 10 < LEASE_SECONDS


async def test_who_lost_its_claim_records_what_it_sent_and_changes_nothing_else(stored):
    booking = await one_sale(stored)
    office = post_office(stored, Recorded())
    await office.notices.run_once()
    first = await office.notifications.claim(30)
    await let_claims_lapse(stored)
    second = await office.notifications.claim(30)
    assert first.lease != second.lease
    assert not await office.notifications.postpone(first, 0, in_vain=True)
    assert not await office.notifications.end(first, "refused", "550")
    row = (await notifications_of(stored, booking.id))["confirmed"]
    assert (row["lease"], row["attempts"]) == (second.lease, 0)
    await office.notifications.sent(first)
    assert await status_of(stored, booking) == "sent"
    assert not await office.notifications.postpone(second, 0, in_vain=True)
    assert await status_of(stored, booking) == "sent"


async def test_what_is_on_its_way_at_the_end_arrives_and_is_recorded(stored):
    """A restart sends nothing twice."""
    booking = await one_sale(stored)
    handed_over, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Recorded):
        async def send(self, mail):
            handed_over.set()
            await go_on.wait()
            await super().send(mail)

    office = post_office(stored, Slow())
    running = asyncio.create_task(office.run())
    await handed_over.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    asyncio.get_running_loop().call_later(0.05, go_on.set)
    await office.notifier.drain(5)
    assert await status_of(stored, booking) == "sent"


# -- refused, put off, away -----------------------------------------------------------------------


async def test_a_refused_mail_is_given_up_with_an_alert_and_the_others_go(stored, caplog):
    bad = await one_sale(stored, email="nobody@example.com")
    good = await one_sale(stored, name="Eve")
    async with sinking() as sink:
        sink.refusals["nobody@example.com"] = "550 5.1.1 <nobody@example.com>: unknown"
        office = post_office(stored, SmtpMailer(sink.url, "t@cinema.test"))
        assert await office.run() == 1
        await let_claims_lapse(stored)
        assert await office.run() == 0
    assert [mail["To"].addresses[0].addr_spec for mail in sink.mails] == ["eve@example.com"]
    assert sink.rcpts.count("nobody@example.com") == 1
    assert await status_of(stored, bad) == "refused"
    assert await status_of(stored, good) == "sent"
    (alert,) = await alerts(stored)
    assert alert["target"] == {"booking_id": bad.id}
    assert alert["detail"]["reason"] == "SMTPRecipientRefused 550"
    (line,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert f"{bad.id}:confirmed" in line.getMessage()
    assert "example.com" not in str(alert) + caplog.text
    assert b'rowlock_alerts_total{reason="mail"} 1.0' in office.metrics.text()


async def test_a_crash_while_giving_up_alerts_once(stored):
    class DiesFirst(NotificationRepo):
        async def end(self, claimed, ending, reason):
            raise Crash

    booking = await one_sale(stored)
    mailer = Recorded(MailRefused("550"), MailRefused("550"))
    with pytest.raises(Crash):
        await post_office(stored, mailer, notifications=DiesFirst(stored.database)).run()
    await let_claims_lapse(stored)
    await post_office(stored, mailer).run()
    assert await status_of(stored, booking) == "refused"
    assert len(await alerts(stored)) == 1


async def test_who_cannot_be_written_to_is_given_up(stored):
    stranger = await one_sale(stored)
    await stored.database["users"].delete_many({})
    odd = await one_sale(stored, email="not an address")
    mailer = Recorded()
    await post_office(stored, mailer).run()
    assert mailer.mails == []
    for booking in (stranger, odd):
        assert await status_of(stored, booking) == "refused"
    assert len(await alerts(stored)) == 2


async def test_a_mail_that_is_put_off_comes_again_and_keeps_nobody_waiting(stored):
    slow = await one_sale(stored, email="full@example.com")
    others = await sold_out(stored, await somebody(stored, "Eve"), 20)
    async with sinking() as sink:
        sink.refusals["full@example.com"] = "452 4.2.2 mailbox full"
        office = post_office(stored, SmtpMailer(sink.url, "t@cinema.test"))
        assert await office.run() == len(others)
        row = (await notifications_of(stored, slow.id))["confirmed"]
        assert (row["status"], row["attempts"], row["lease"]) == ("due", 1, None)
        assert await office.run() == 0, "its time has not come"
        await let_claims_lapse(stored)
        await office.run()
        sink.refusals.clear()
        await let_claims_lapse(stored)
        assert await office.run() == 1
    assert len(sink.to("full@example.com")) == 1
    assert await status_of(stored, slow) == "sent"
    assert [failures for failures, _, _ in office.pauses.asked] == [0, 1]
    assert await alerts(stored) == []


async def test_a_mail_that_hangs_holds_up_no_other(stored):
    stuck = await one_sale(stored, email="tarpit@example.com")
    let_go = asyncio.Event()

    class Hangs(Recorded):
        async def send(self, mail):
            if mail.address == "tarpit@example.com":
                await let_go.wait()
            await super().send(mail)

    mailer = Hangs()
    office = post_office(stored, mailer)
    for name in ("Eve", "Abe"):
        booking = await one_sale(stored, name=name)
        await office.notices.run_once()
        await office.notifier.run_once()
        sent = f"{booking.id}.confirmed"

        async def has_arrived(sent=sent):
            return sent in mailer.names

        await eventually(has_arrived)
    assert f"{stuck.id}.confirmed" not in mailer.names
    let_go.set()
    await office.notifier.drain(5)
    assert await status_of(stored, stuck) == "sent"


async def test_no_wait_is_longer_than_ten_seconds_until_it_looks_hopeless(stored):
    assert LONGEST_WAIT == 10
    booking = await one_sale(stored)
    mailer = Recorded()
    office = post_office(stored, mailer)
    rows = stored.database["notifications"]
    for attempts, limit in ((0, LONGEST_WAIT), (59, LONGEST_WAIT), (60, 500.0), (699, 500.0)):
        mailer.then = [MailPostponed("451")]
        await office.notices.run_once()
        await rows.update_one({"about": booking.id}, {"$set": {"attempts": attempts}})
        await office.run()
        assert office.pauses.asked[-1][2] == limit
        await let_claims_lapse(stored)
    await rows.update_one({"about": booking.id}, {"$set": {"attempts": GIVE_UP_AFTER}})
    mailer.then = [MailPostponed("451")]
    await office.run()
    assert await status_of(stored, booking) == "refused"
    assert len(await alerts(stored)) == 1


async def test_while_the_server_is_away_nobody_tries_and_then_one_does(stored):
    await sold_out(stored, await somebody(stored), 30)
    mailer = Recorded(*[MailServerAway("refused")] * 8)
    office = post_office(stored, mailer)
    await office.run()
    assert 1 <= len(mailer.mails) <= 8, "what was on its way when it went away"
    mailer.then = [MailServerAway("refused")]
    await office.run()
    tried = len(mailer.mails)
    await office.run()
    assert len(mailer.mails) == tried, "the wait is not over"
    office.clock.advance(LONGEST_WAIT)
    await office.run()
    assert len(mailer.mails) == tried + 1, "one finds out for all"
    mailer.mails.clear()
    office.clock.advance(LONGEST_WAIT)
    await let_claims_lapse(stored)
    assert await office.run() == 30
    assert len(set(mailer.names)) == 30


async def test_a_server_that_is_away_counts_against_no_mail(stored, caplog):
    booking = await one_sale(stored)
    mailer = Recorded(*[MailServerAway("refused")] * (ALERT_AFTER + 2))
    office = post_office(stored, mailer)
    while mailer.then:
        await office.run()
        office.clock.advance(LONGEST_WAIT)
        await let_claims_lapse(stored)
    row = (await notifications_of(stored, booking.id))["confirmed"]
    assert (row["status"], row["attempts"]) == ("due", 0)
    assert max(high for _, _, high in office.pauses.asked) == LONGEST_WAIT
    assert await office.run() == 1
    (alert,) = await alerts(stored)  # one for the whole outage
    assert alert["detail"] == {"about": "mail", "reason": "refused"}
    levels = [r.levelname for r in caplog.records if r.name == "rowlock.notifier"]
    assert (levels.count("WARNING"), levels.count("ERROR")) == (1, 1)


async def test_a_letter_that_cannot_be_written_keeps_nobody_waiting(stored, caplog):
    broken = await one_sale(stored)
    await stored.database["showtimes"].delete_one({"_id": broken.showtime_id})
    good = await one_sale(stored, name="Eve")
    mailer = Recorded()
    await post_office(stored, mailer).run()
    assert mailer.names == [f"{good.id}.confirmed"]
    row = (await notifications_of(stored, broken.id))["confirmed"]
    assert (row["status"], row["attempts"]) == ("due", 1)
    assert "cannot be sent" in caplog.text


# -- put together ---------------------------------------------------------------------------------


async def working(stored, **changes):
    """The background work of a production server on these stores."""
    stores = {"redis_url": stored.redis_url, "mongo_uri": stored.mongo_uri}
    parts = build_parts(settings_for(app_env="production", **stores, **changes))
    parts.workers.start()
    return parts


async def test_without_a_mail_server_notices_wait_until_there_is_one(stored, caplog):
    booking = await one_sale(stored)
    parts = await working(stored)
    assert "SMTP_URL is not set" in caplog.text
    try:
        await eventually(lambda: notifications_of(stored, booking.id))
        assert await status_of(stored, booking) == "due"
    finally:
        await parts.stop()
    async with sinking() as sink:
        parts = await working(stored, smtp_url=sink.url, mail_from="Rowlock <t@cinema.test>")
        try:

            async def is_told():
                return await status_of(stored, booking) == "sent"

            await eventually(is_told)
        finally:
            await parts.stop()
    assert sink.ids == [f"<{booking.id}.confirmed@cinema.test>"]
