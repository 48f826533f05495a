"""What every answer tells a browser about what it may do with it."""

from collections.abc import Mapping

from server.settings import Settings

_CONTENT = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",  # the ticket's QR code is fetched with a token, then shown as data:
    "font-src": "'self'",
    "connect-src": "'self'",
    "manifest-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
    "object-src": "'none'",
    # No code of ours makes markup or script out of a string; so no string can become either.
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}

_FEATURES = (
    *("accelerometer", "autoplay", "camera", "display-capture", "encrypted-media"),
    *("geolocation", "gyroscope", "hid", "magnetometer", "microphone", "midi", "payment"),
    *("publickey-credentials-get", "serial", "usb", "xr-spatial-tracking"),
)


def _policy(content: Mapping[str, str]) -> str:
    return "; ".join(f"{name} {value}" for name, value in content.items())


SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _policy(_CONTENT),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: with it, browsers write `Origin: null` on the forms of our own pages.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": ", ".join(f"{feature}=()" for feature in _FEATURES),
}

MARKUP_FROM_STRINGS = _policy(
    {name: value for name, value in _CONTENT.items() if "trusted-types" not in name}
)
"""The same for a page of a library that makes markup of strings: /docs."""

STRICT_TRANSPORT = {"Strict-Transport-Security": "max-age=31536000; includeSubDomains"}
"""For a year from each answer, browsers come by https alone (ASVS 5.0, 3.4.1)."""


def security_headers(settings: Settings) -> Mapping[str, str]:
    """Return what answers carry, unless a route says something of its own."""
    is_https = settings.origin.lower().startswith("https://")
    return {**SECURITY_HEADERS, **STRICT_TRANSPORT} if is_https else SECURITY_HEADERS
