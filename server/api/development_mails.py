"""Development's letter box: /dev/mails/{name}, each mail for the person it was sent to alone.

GET gives the file as it landed to whoever shows an access token. POST shows it as a page; a link
can carry no header, so there a single-use ticket of `POST /api/auth/ticket` stands in the form.
"""

import asyncio
import base64
import email
from email.message import EmailMessage
from email.policy import default
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from server.api.requests import read_body
from server.auth.guards import Guards
from server.auth.tickets import Tickets
from server.errors import NotFound, Unauthenticated
from server.mail import FileMailer
from server.models import Identity

_PATIENCE_SECONDS = 5.0
_LOOK_SECONDS = 0.05
_HEADERS = {
    "Cache-Control": "no-store",
    # A mail brings its own styles; it can do nothing but be looked at.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; sandbox allow-popups"
    ),
}


class DevelopmentMailRoutes:
    def __init__(self, mails: FileMailer, tickets: Tickets, guards: Guards) -> None:
        self._mails = mails
        self._tickets = tickets
        self._guards = guards

    @property
    def routes(self) -> list[Route]:
        address = "/dev/mails/{name}"
        return [
            Route(address, self._guards.signed_in(self.raw), methods=["GET"]),
            Route(address, self.page, methods=["POST"]),
        ]

    async def raw(self, request: Request, identity: Identity) -> Response:
        mail = await self._mails.read(identity.user_id, request.path_params["name"])
        if mail is None:
            raise NotFound
        return Response(mail, 200, _HEADERS, "message/rfc822")

    async def page(self, request: Request) -> Response:
        form = parse_qs((await read_body(request)).decode(errors="replace"))
        if "ticket" not in form:
            raise Unauthenticated
        identity = await self._tickets.redeem(form["ticket"][0])
        landed = await self._landed(identity.user_id, request.path_params["name"])
        mail = email.message_from_bytes(landed, policy=default)
        return HTMLResponse(_page_of(mail), 200, _HEADERS)

    async def _landed(self, user_id: str, name: str) -> bytes:
        """Return a mail; one that is still on its way gets a moment to land. Raises NotFound."""
        for _ in range(round(_PATIENCE_SECONDS / _LOOK_SECONDS)):
            if mail := await self._mails.read(user_id, name):
                return mail
            await asyncio.sleep(_LOOK_SECONDS)
        raise NotFound


def _page_of(mail: EmailMessage) -> str:
    """Return the mail's HTML with its pictures inside."""
    body = mail.get_body(("html",))
    if body is None:
        raise NotFound
    page: str = body.get_content()
    for part in mail.walk():
        if part["Content-ID"]:
            data = base64.b64encode(part.get_content()).decode()
            inline = f"data:{part.get_content_type()};base64,{data}"
            page = page.replace(f"cid:{part['Content-ID'].strip('<>')}", inline)
    return page
