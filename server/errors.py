"""Every refusal that Rowlock can give, each with its HTTP status and its word.

RowlockError
├── InvalidRequest                422 invalid_request
├── UnknownSeats                  422 unknown_seats           seats
├── IdempotencyKeyMissing         400 idempotency_key_missing
├── WebhookRefused                400 webhook_refused
├── IdempotencyKeyReused          422 idempotency_key_reused
├── IdempotencyInProgress         409 idempotency_in_progress Retry-After
├── Unauthenticated               401 unauthenticated         WWW-Authenticate
├── Forbidden                     403 forbidden
├── NotFound                      404 not_found
├── MethodNotAllowed              405 method_not_allowed      Allow
├── PaymentDeclined               402 payment_declined
├── SeatsUnavailable              409 seats_unavailable       unavailable
├── SeatLimitReached              409 seat_limit_reached      limit
├── LockExpired                   409 lock_expired
├── ExtensionLimitReached         409 extension_limit_reached limit
├── BookingState                  409 booking_state           booking_status
├── ShowtimeClosed                409 showtime_closed
├── LastAdmin                     409 last_admin
├── EmailTaken                    409 email_taken
├── EmailUnverified               409 email_unverified
├── NoPassword                    409 no_password
├── WeakPassword                  422 weak_password           reason
├── BodyTooLarge                  413 body_too_large
├── UnsupportedMediaType          415 unsupported_media_type
├── HostNotAllowed                421 host_not_allowed
├── RateLimited                   429 rate_limited            Retry-After
└── StoreUnavailable              503 store_unavailable       Retry-After

Anything else that escapes is a bug: logged once with its request id, answered with 500
`internal_error`.
"""

from typing import Any, ClassVar, Literal


class RowlockError(Exception):
    """An expected refusal. `fields` go into the problem document as they are."""

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, detail: str = "", **fields: Any) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.fields = fields

    @property
    def headers(self) -> dict[str, str]:
        return {}


class _RetryLater(RowlockError):
    """A refusal that time heals; `retry_after` is in whole seconds."""

    def __init__(self, detail: str = "", *, retry_after: int = 1, **fields: Any) -> None:
        super().__init__(detail, **fields)
        self.retry_after = max(1, retry_after)

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after)}


class InvalidRequest(RowlockError):
    status, code, title = 422, "invalid_request", "The request is not valid"


class UnknownSeats(RowlockError):
    status, code, title = 422, "unknown_seats", "The showtime has no such seats"

    def __init__(self, seats: list[str]) -> None:
        super().__init__(f"No such seats: {', '.join(seats)}", seats=seats)


class IdempotencyKeyMissing(RowlockError):
    status, code, title = 400, "idempotency_key_missing", "Send an Idempotency-Key header"


class WebhookRefused(RowlockError):
    status, code, title = 400, "webhook_refused", "This is no event of the payment provider"


class IdempotencyKeyReused(RowlockError):
    status, code, title = (
        422,
        "idempotency_key_reused",
        "This Idempotency-Key was used for another request",
    )


class IdempotencyInProgress(_RetryLater):
    status, code, title = (
        409,
        "idempotency_in_progress",
        "The first request with this Idempotency-Key is still running",
    )


class Unauthenticated(RowlockError):
    status, code, title = 401, "unauthenticated", "Sign in first"

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class Forbidden(RowlockError):
    status, code, title = 403, "forbidden", "You may not do this"


class NotFound(RowlockError):
    status, code, title = 404, "not_found", "There is no such thing here"


class MethodNotAllowed(RowlockError):
    status, code, title = 405, "method_not_allowed", "This address does not take that method"


class PaymentDeclined(RowlockError):
    status, code, title = 402, "payment_declined", "The payment was declined"


class SeatsUnavailable(RowlockError):
    status, code, title = 409, "seats_unavailable", "Some of these seats are taken"

    def __init__(self, unavailable: list[dict[str, Any]]) -> None:
        seats = ", ".join(entry["seat"] for entry in unavailable)
        super().__init__(f"Not available: {seats}. Nothing was locked.", unavailable=unavailable)


class SeatLimitReached(RowlockError):
    status, code, title = 409, "seat_limit_reached", "That is more seats than one person may hold"

    def __init__(self, limit: int) -> None:
        super().__init__(f"One person may hold {limit} seats of a showtime.", limit=limit)


class LockExpired(RowlockError):
    status, code, title = 409, "lock_expired", "The lock on these seats has ended"


class ExtensionLimitReached(RowlockError):
    status, code, title = 409, "extension_limit_reached", "This lock cannot be extended again"


class BookingState(RowlockError):
    status, code, title = 409, "booking_state", "The booking is in another state"


class ShowtimeClosed(RowlockError):
    status, code, title = 409, "showtime_closed", "Sales for this showtime have ended"


class LastAdmin(RowlockError):
    status, code, title = 409, "last_admin", "Nobody would be left who is ADMIN"


class EmailTaken(RowlockError):
    status, code, title = 409, "email_taken", "There is an account with this mail address"


class EmailUnverified(RowlockError):
    status, code, title = 409, "email_unverified", "Nobody has proven to own this mail address"


class NoPassword(RowlockError):
    status, code, title = 409, "no_password", "This account has no password"


class WeakPassword(RowlockError):
    status, code, title = 422, "weak_password", "Choose another password"

    def __init__(self, detail: str, reason: Literal["too_short", "common", "personal"]) -> None:
        super().__init__(detail, reason=reason)


class BodyTooLarge(RowlockError):
    status, code, title = 413, "body_too_large", "The body is larger than 64 KiB"


class UnsupportedMediaType(RowlockError):
    status, code, title = 415, "unsupported_media_type", "Send application/json"


class HostNotAllowed(RowlockError):
    status, code, title = 421, "host_not_allowed", "This server does not answer under that name"


class RateLimited(_RetryLater):
    status, code, title = 429, "rate_limited", "Too many requests"


class StoreUnavailable(_RetryLater):
    status, code, title = 503, "store_unavailable", "A store that Rowlock needs does not answer"
