"""Headers of requests and answers, each described once."""

from typing import Any

from server.idempotency import MAX_KEY_LENGTH


def _header(about: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"description": about, "schema": schema} | ({"required": True} if required else {})


COMPONENTS: dict[str, Any] = {
    "X-Request-ID": _header(
        "The caller's when it was well formed, else a new one; logs and audit entries carry it.",
        {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$", "examples": ["req_0191d2"]},
        required=True,
    ),
    "Retry-After": _header(
        "Seconds to wait before the same request may go well.",
        {"type": "integer", "minimum": 1, "examples": [1]},
        required=True,
    ),
    "WWW-Authenticate": _header("How to sign in.", {"type": "string"}, required=True),
    "ETag": _header("Stands for this state.", {"type": "string"}, required=True),
    "Location": _header("Where to go on.", {"type": "string"}, required=True),
    "Set-Cookie": _header("The cookies of the sign-in.", {"type": "string"}),
    "Link": _header("In development: the mail that brought it.", {"type": "string"}),
    "Content-Disposition": _header("The name to save it under.", {"type": "string"}),
    "Idempotent-Replayed": _header(
        "This is the answer that the first request with this key got.", {"const": "true"}
    ),
    "RateLimit": _header(
        "What is left of the narrowest limit that was counted.",
        {"type": "string", "examples": ['"read";r=199;t=1']},
    ),
    "RateLimit-Policy": _header(
        "That limit.", {"type": "string", "examples": ['"read";q=200;w=10']}
    ),
}


def _parameter(name: str, about: str, schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": about, "schema": schema, **more}


PARAMETERS: dict[str, Any] = {
    "X-Request-ID": _parameter(
        "X-Request-ID", "An id of yours for this request.", {"type": "string"}
    ),
    "Idempotency-Key": _parameter(
        "Idempotency-Key",
        "The same key and the same body get the same answer, for 72 hours, and act once.",
        {"type": "string", "minLength": 1, "maxLength": MAX_KEY_LENGTH},
        required=True,
        example="b6ae2a4e-6a3b-4a4c-9d0e-3a1f3c0f8a53",
    ),
    "If-None-Match": _parameter(
        "If-None-Match", "The ETag that you have; 304 when it is still true.", {"type": "string"}
    ),
    "Last-Event-ID": _parameter(
        "Last-Event-ID", "The position `epoch:seq` to go on from.", {"type": "string"}
    ),
    "Stripe-Signature": _parameter(
        "Stripe-Signature", "Proves that the body comes from Stripe.", {"type": "string"}
    ),
}

_EVERYWHERE = ("X-Request-ID",)
_LIMITS = ("RateLimit", "RateLimit-Policy")


def answered(*names: str) -> dict[str, Any]:
    """The headers of an answer: these, and those that every answer may have."""
    return {
        name: {"$ref": f"#/components/headers/{name}"} for name in (*names, *_EVERYWHERE, *_LIMITS)
    }
