"""What stands in a letter, part by part, and what people's own words cannot do in it."""

import email
from dataclasses import replace
from datetime import UTC, datetime
from email.policy import default
from html.parser import HTMLParser

import icalendar
import pytest

from server.booking import Booking, Refund
from server.etickets import TicketCodes
from server.letters import Letters, amount_of, one_line, when_of
from server.mail import MailRefused
from server.models import Money
from server.repo.users import User
from tests.auth_flow import JWT_SECRET
from tests.programme import CINEMA, MOVIE, a_showtime, money
from tests.qr import read_qr

BOB = User(f"usr_{'b' * 32}", "bob@example.com", "Bob", "USER")
STARTS = datetime(2026, 7, 1, 19, 30, tzinfo=UTC)
SHOWTIME = a_showtime(f"sho_{'c' * 32}", STARTS)
BOOKING = Booking(
    id=f"bk_{'a' * 32}",
    showtime_id=SHOWTIME.id,
    user_id=BOB.id,
    seats=["A1", "A2"],
    status="confirmed",
    amount=money(2050),
    prices={"A1": 1025, "A2": 1025},
    created_at=STARTS,
    expires_at=STARTS,
    remaining_ms=0,
    claims=True,
)
CODES = TicketCodes(JWT_SECRET)
EVIL = 'Bob <script>alert(1)</script> & "Co"\r\nBcc: victim@example.com\r\n\r\nHello'


def letters(sender="Cinéma <tickets@cinema.test>"):
    return Letters(CODES, sender, "https://cinema.test")


async def ticket(to=BOB, booking=BOOKING, showtime=SHOWTIME):
    mail = await letters().ticket(f"{booking.id}:confirmed", to, booking, showtime)
    return email.message_from_bytes(mail.message.as_bytes(), policy=default)


async def refund(reason, seats, booking, to=BOB, showtime=SHOWTIME):
    done = Refund("refund:1", money(1025 * len(seats)), seats, reason, "done")
    booking = replace(booking, refunds=[done, *booking.refunds])
    mail = await letters().refund(f"{booking.id}:refund-0", to, booking, showtime, done)
    return email.message_from_bytes(mail.message.as_bytes(), policy=default)


def text_of(mail):
    return mail.get_body(("plain",)).get_content()


def html_of(mail):
    return mail.get_body(("html",)).get_content()


class Tags(HTMLParser):
    """What a reader of HTML makes of a page: its tags, their attributes, its words."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.words = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words += data


async def test_the_ticket_has_everything_that_is_needed_at_the_door():
    mail = await ticket()
    assert [part.get_content_type() for part in mail.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
        "text/calendar",
    ]
    for words in (text_of(mail), Tags(html_of(mail)).words):
        assert "Hello Bob" in words
        assert MOVIE.title in words
        assert "Wednesday 1 July 2026, 20:30" in words  # London, in summer
        assert "Europe/London" in words
        assert CINEMA.name in words
        assert "Hall A" in words
        assert "A1" in words
        assert "A2" in words
        assert "EUR 20.50" in words
        assert CODES.code_of(BOOKING.id) in words


async def test_the_qr_in_the_letter_is_the_code_of_the_booking():
    mail = await ticket()
    (picture,) = [part for part in mail.walk() if part.get_content_type() == "image/png"]
    assert read_qr(picture.get_content()) == CODES.code_of(BOOKING.id)
    assert picture.get_content_disposition() == "inline"
    (shown,) = [attributes for tag, attributes in Tags(html_of(mail)).tags if tag == "img"]
    assert f"<{shown['src'].removeprefix('cid:')}>" == picture["Content-ID"]
    assert CODES.code_of(BOOKING.id) in shown["alt"]  # where pictures are blocked


async def test_the_calendar_entry_is_attached():
    (part,) = [p for p in (await ticket()).walk() if p.get_content_type() == "text/calendar"]
    assert part.get_filename() == "showtime.ics"
    assert part.get_param("method") == "PUBLISH"
    (event,) = icalendar.Calendar.from_ical(part.get_content()).walk("VEVENT")
    assert event["DTSTART"].dt == STARTS
    assert "A1, A2" in event["DESCRIPTION"]


async def test_the_headers_say_who_and_which():
    mail = await ticket()
    assert mail["From"].addresses[0].addr_spec == "tickets@cinema.test"
    assert mail["From"].addresses[0].display_name == "Cinéma"
    assert str(mail["To"]) == "Bob <bob@example.com>"
    assert mail["Subject"] == "Your ticket: A Film, Wednesday 1 July 2026, 20:30"
    assert mail["Message-ID"] == f"<{BOOKING.id}.confirmed@cinema.test>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"].datetime.tzinfo is not None
    again = await ticket()
    assert again["Message-ID"] == mail["Message-ID"]


async def test_a_long_message_id_comes_through_whole():
    name = f"{SHOWTIME.id}:almost-sold-out:{BOB.id}"
    post = letters(f"tickets@{'long.' * 20}test")
    mail = await post.almost_sold_out(name, BOB, SHOWTIME, 9, 10)
    read = email.message_from_bytes(mail.message.as_bytes(), policy=default)
    assert read["Message-ID"] == f"<{name.replace(':', '.')}@{'long.' * 20}test>"


@pytest.mark.parametrize("where", ["name", "title", "cinema"])
async def test_words_of_others_are_neither_headers_nor_markup(where):
    to = replace(BOB, name=EVIL) if where == "name" else BOB
    showtime = SHOWTIME
    if where == "title":
        showtime = replace(SHOWTIME, movie=replace(MOVIE, title=EVIL))
    if where == "cinema":
        showtime = replace(SHOWTIME, cinema=replace(CINEMA, name=EVIL))
    plain = await ticket()
    for mail in (
        await ticket(to, BOOKING, showtime),
        await refund("house", ["A1", "A2"], replace(BOOKING, status="cancelled"), to, showtime),
    ):
        assert set(mail.keys()) == set(plain.keys())
        assert mail["Bcc"] is None
        assert [address.addr_spec for address in mail["To"].addresses] == ["bob@example.com"]
        tags = Tags(html_of(mail))
        assert "script" not in {tag for tag, _ in tags.tags}
        assert "<script>alert(1)</script>" in tags.words
    *_, entry = (await ticket(to, BOOKING, showtime)).walk()
    (event,) = icalendar.Calendar.from_ical(entry.get_content()).walk("VEVENT")
    assert event["UID"] == f"{BOOKING.id}@rowlock"


@pytest.mark.parametrize(
    "address", ["", "nobody", "a b@c.d", "a@b\r\nBcc: x@y.z", "a@b, c@d", "<a@b>", "@", "a@"]
)
async def test_what_is_no_address_is_refused(address):
    with pytest.raises(MailRefused):
        await ticket(replace(BOB, email=address))


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("buyer", "As you asked, your booking of seats A1, A2 is cancelled."),
        ("admin", "The cinema has cancelled your booking of seats A1, A2."),
        ("house", "the cinema has cancelled this showtime"),
    ],
)
async def test_a_refund_of_all_says_why_and_that_the_ticket_is_void(reason, told):
    mail = await refund(reason, ["A1", "A2"], replace(BOOKING, status="cancelled"))
    assert mail["Subject"] == "Refund of EUR 20.50: A Film"
    for words in (text_of(mail), Tags(html_of(mail)).words):
        assert told in words
        assert "EUR 20.50 went back the way you paid" in " ".join(words.split())
        assert "no longer valid" in words
        assert "You keep" not in words
    assert mail.get_content_type() == "multipart/alternative"


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("buyer", "As you asked, seat A1 went back on sale."),
        ("admin", "The cinema has taken seat A1 out of your booking."),
    ],
)
async def test_a_refund_of_some_says_what_is_kept(reason, told):
    mail = await refund(reason, ["A1"], replace(BOOKING, seats=["A2"]))
    for words in (text_of(mail), Tags(html_of(mail)).words):
        assert told in words
        assert "You keep A2" in words
        assert "no longer valid" not in words


async def test_a_refund_of_some_is_told_as_such_when_the_rest_was_cancelled_since():
    rest = Refund("refund:2", money(1025), ["A2"], "buyer", "due")
    mail = await refund("buyer", ["A1"], replace(BOOKING, status="cancelled", refunds=[rest]))
    assert "As you asked, seat A1 went back on sale." in text_of(mail)
    assert "no longer valid" in text_of(mail)


async def test_every_letter_says_the_same_in_both_parts_and_shows_in_the_dark():
    admin = await letters().almost_sold_out("s:almost-sold-out:a", BOB, SHOWTIME, 9, 10)
    assert "9 of 10 seats are booked" in text_of(admin.message)
    assert f"https://cinema.test/showtimes/{SHOWTIME.id}" in text_of(admin.message)
    for mail in (await ticket(), admin.message):
        page = html_of(mail)
        assert 'name="color-scheme" content="light dark"' in page
        assert "prefers-color-scheme: dark" in page
        for tag, attributes in Tags(page).tags:  # nothing is fetched from anywhere
            assert tag not in ("script", "link", "iframe", "object")
            assert attributes.get("src", "cid:").startswith("cid:")


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (1250, "EUR", "EUR 12.50"),
        (5, "GBP", "GBP 0.05"),
        (0, "EUR", "EUR 0.00"),
        (1250, "JPY", "JPY 1250"),
        (1250, "KWD", "KWD 1.250"),
        (123456789, "USD", "USD 1234567.89"),
    ],
)
async def test_amounts_have_the_digits_of_their_currency(minor, currency, text):
    assert amount_of(Money(currency=currency, minor=minor)) == text


async def test_control_characters_are_gone_from_one_line():
    assert one_line("a\r\nb\x00c\u2028d\u202ee  f") == "a b c d e f"
    assert one_line("Zoë 🎬") == "Zoë 🎬"


async def test_the_clock_is_the_one_on_the_wall_of_the_cinema():
    sydney = replace(SHOWTIME, cinema=replace(CINEMA, time_zone="Australia/Sydney"))
    assert when_of(sydney) == "Thursday 2 July 2026, 05:30"
