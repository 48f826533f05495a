"""A booking as an entry for calendars (RFC 5545)."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from icalendar import Alarm, Calendar, Event

from server.booking import Booking
from server.catalogue import Showtime

_REMINDER = timedelta(hours=-2)
_YEAR = timedelta(days=366)


def calendar_of(booking: Booking, showtime: Showtime, origin: str) -> str:
    """Return the showtime on the cinema's clock, with the booking's seats and an alarm before it.

    The entry's UID follows from the booking and its SEQUENCE from what was given back since, so
    that a calendar that takes it in once more updates what it has.
    """
    calendar = Calendar()
    calendar.add("prodid", "-//Rowlock//Rowlock//EN")
    calendar.add("version", "2.0")
    calendar.add("method", "PUBLISH")
    calendar.add_component(_event(booking, showtime, origin))
    start = showtime.starts_at.date()
    calendar.add_missing_timezones(first_date=start - _YEAR, last_date=start + _YEAR)
    entry: bytes = calendar.to_ical()
    return entry.decode()


def _event(booking: Booking, showtime: Showtime, origin: str) -> Event:
    cinema, zone = showtime.cinema, ZoneInfo(showtime.cinema.time_zone)
    event = Event()
    event.add("uid", f"{booking.id}@rowlock")
    event.add("sequence", len(booking.refunds))
    event.add("dtstamp", datetime.now(UTC))
    event.add("dtstart", showtime.starts_at.astimezone(zone))
    event.add("dtend", showtime.ends_at.astimezone(zone))
    event.add("summary", showtime.movie.title)
    event.add("location", f"{cinema.name}, {cinema.address}, {cinema.city}")
    event.add("description", _description(booking, showtime))
    event.add("url", f"{origin}/bookings")
    event.add("status", "CONFIRMED")
    event.add_component(_alarm(showtime))
    return event


def _description(booking: Booking, showtime: Showtime) -> str:
    seats = f"{'Seat' if len(booking.seats) == 1 else 'Seats'} {', '.join(booking.seats)}"
    return f"{showtime.auditorium.name}, {seats}\nBooking {booking.id}"


def _alarm(showtime: Showtime) -> Alarm:
    alarm = Alarm()
    alarm.add("action", "DISPLAY")
    alarm.add("trigger", _REMINDER)
    alarm.add("description", showtime.movie.title)
    return alarm
