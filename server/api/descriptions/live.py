"""What goes over the WebSockets: the frames of the live seat map and of the live audit log."""

from typing import Annotated, Literal

from pydantic import Field

from server.api.asyncapi import Channel, Message
from server.api.audit_live import FIRST_MESSAGE_SECONDS, HEARTBEAT_SECONDS, Auth
from server.api.descriptions.admin import AuditEntry
from server.api.descriptions.values import Shape
from server.events import Reason
from server.models import SeatId

Epoch = Annotated[
    str, Field(description="Names a life of the store; numbers of two epochs do not compare.")
]
Seq = Annotated[int, Field(ge=0, description="The number of a change, within the epoch.")]
Millis = Annotated[int, Field(description="Milliseconds since 1970.", examples=[1_800_000_000_250])]
Seats = list[SeatId]


class Snapshot(Shape):
    type: Literal["snapshot"]
    epoch: Epoch
    seq: Seq
    server_time: Millis
    states: Annotated[
        str,
        Field(
            pattern=r"^[.lbx]*$",
            description="One character per seat in layout order: `.` available, `l` locked, "
            "`b` booked, `x` not for sale.",
        ),
    ]


class SeatLocked(Shape):
    type: Literal["seat.locked"]
    seats: Seats
    expires_at: Millis


class SeatReleased(Shape):
    type: Literal["seat.released"]
    seats: Seats
    reason: Reason


class SeatBooked(Shape):
    type: Literal["seat.booked"]
    seats: Seats


class SeatBlocked(Shape):
    type: Literal["seat.blocked"]
    seats: Seats


class SeatEvents(Shape):
    type: Literal["events"]
    epoch: Epoch
    prev: Annotated[int, Field(ge=0, description="Where the map has to be at least.")]
    seq: Annotated[int, Field(ge=0, description="Where it is afterwards.")]
    server_time: Millis
    events: list[SeatLocked | SeatReleased | SeatBooked | SeatBlocked]


class Heartbeat(Shape):
    type: Literal["heartbeat"]
    seq: Seq
    server_time: Millis


class AuditNews(Shape):
    type: Literal["audit"]
    entry: AuditEntry


class AuditHeartbeat(Shape):
    type: Literal["heartbeat"]
    server_time: Millis


_SEAT_MAP = """\
Anonymous and one-way. With a position (`?epoch=&seq=`) it begins with `events` from there if the \
server can bridge, else with a `snapshot`.

The rule: another `epoch`: reconnect without a position. `seq` not above mine: ignore. `prev` not \
above mine: apply, values are absolute. `prev` above mine, or `seq` of a heartbeat: a gap, \
reconnect with my position.

Close codes: 1008 origin refused; 1012 restart and 4408 too slow: come back after a random delay; \
1013 try later; 4404 no such showtime. The same frames come as Server-Sent Events for \
`Accept: text/event-stream`."""

_AUDIT = f"""\
For administrators. The client speaks first, within {FIRST_MESSAGE_SECONDS:.0f} s; what it says \
later is dropped. With `?after=<entry id>` it begins with the entries after that one, without it \
with those that come now.

Close codes: 1008 origin or ticket refused, no first message in time, or a person who is no \
administrator; 1009 a message that is too long; 1012 restart, 1013 try later and 4408 too slow: \
come back with `after` and another ticket; 4404 no entry has that id."""

CHANNELS = [
    Channel(
        "seatMap",
        "/api/showtimes/{showtime_id}/live",
        "The seat map of a showtime, as it changes",
        _SEAT_MAP,
        sent=(
            Message(
                "snapshot",
                Snapshot,
                "The whole map",
                {
                    "type": "snapshot",
                    "epoch": "e1",
                    "seq": 41,
                    "server_time": 1_800_000_000_250,
                    "states": "..lb.",
                },
            ),
            Message(
                "seatEvents",
                SeatEvents,
                "Takes the map from `prev` to `seq`",
                {
                    "type": "events",
                    "epoch": "e1",
                    "prev": 41,
                    "seq": 42,
                    "server_time": 1_800_000_000_300,
                    "events": [
                        {"type": "seat.locked", "seats": ["A1"], "expires_at": 1_800_000_300_300}
                    ],
                },
            ),
            Message(
                "heartbeat",
                Heartbeat,
                "At least every 20 s",
                {"type": "heartbeat", "seq": 42, "server_time": 1_800_000_020_300},
            ),
        ),
        query={"epoch": "The epoch of the position to go on from.", "seq": "Its number."},
    ),
    Channel(
        "auditLog",
        "/api/admin/audit/live",
        "The audit log, as it grows",
        _AUDIT,
        sent=(
            Message(
                "auditEntry",
                AuditNews,
                "A new entry, oldest first",
                {
                    "type": "audit",
                    "entry": {
                        "id": "e1-1800000000250-42-1",
                        "at": "2027-01-15T08:00:00.250Z",
                        "actor": {"id": "usr_1", "email": "bob@example.com"},
                        "action": "seat.locked",
                        "outcome": "ok",
                        "target": {"showtime_id": "sho_1"},
                        "detail": {"seats": ["A1"]},
                        "request_id": "req_1",
                    },
                },
            ),
            Message(
                "auditHeartbeat",
                AuditHeartbeat,
                f"Every {HEARTBEAT_SECONDS:.0f} s",
                {"type": "heartbeat", "server_time": 1_800_000_015_250},
            ),
        ),
        received=(
            Message(
                "auth",
                Auth,
                "Who it is: a ticket of `POST /api/auth/ticket`, good for one use",
                {"type": "auth", "ticket": "tk_…"},
            ),
        ),
        query={"after": "The id of the last entry that is known."},
    ),
]
