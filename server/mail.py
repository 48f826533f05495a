"""Mail on its way out: through an SMTP server, or into files in development."""

import asyncio
import os
import re
import ssl
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import parseaddr
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import aiosmtplib
from aiosmtplib.errors import (
    SMTPException,
    SMTPNotSupported,
    SMTPRecipientsRefused,
    SMTPResponseException,
    SMTPSenderRefused,
)

from server.models import ID
from server.settings import Settings

CONNECT_SECONDS = 10.0
TRANSFER_SECONDS = 20.0
_QUIT_SECONDS = 2.0

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){1,2}")


@dataclass(frozen=True, slots=True)
class Mail:
    """One message to one person. `name` is the same for a repeat, and fit for a file."""

    name: str
    user_id: str
    address: str
    message: EmailMessage


class MailServerAway(Exception):
    """No mail can be handed over now; that says nothing about this one."""


class MailPostponed(Exception):
    """This mail was not taken, or nobody knows whether it was: to be sent again."""


class MailRefused(Exception):
    """This mail will not be taken by anyone, ever.

    The text is the server's status alone: what it says beside that often holds the address.
    """


class Mailer(Protocol):
    async def send(self, mail: Mail) -> None:
        """Return once the mail is in safe hands.

        Raises MailServerAway, MailPostponed, MailRefused.
        """
        ...


class SmtpMailer:
    """Hands each mail to the server at `url` over a connection of its own.

    `smtps://` speaks TLS from the start; `smtp://` changes to it where the server can, and insists
    on it before it sends a password.
    """

    def __init__(self, url: str, sender: str, tls: ssl.SSLContext | None = None) -> None:
        """`sender` is the address for the envelope; `tls` replaces the system's authorities."""
        parts = urlsplit(url)
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        secure = parts.scheme == "smtps"
        self._sender = sender
        self._server: dict[str, Any] = {
            "hostname": parts.hostname,
            "port": parts.port or (465 if secure else 587),
            "username": user or None,
            "password": password or None,
            "use_tls": secure,
            "start_tls": (True if user else None) if not secure else False,
            "tls_context": tls,
            "timeout": TRANSFER_SECONDS,
        }

    async def send(self, mail: Mail) -> None:
        client = aiosmtplib.SMTP(**self._server)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await client.connect()
        except (SMTPException, OSError) as error:
            raise MailServerAway(_status(error)) from None
        try:
            await self._transfer(client, mail)
            with suppress(SMTPException, OSError):
                await client.quit(timeout=_QUIT_SECONDS)
        finally:
            client.close()

    async def _transfer(self, client: aiosmtplib.SMTP, mail: Mail) -> None:
        try:
            async with asyncio.timeout(TRANSFER_SECONDS):
                await client.send_message(
                    mail.message, sender=self._sender, recipients=[mail.address]
                )
        except SMTPRecipientsRefused as refusal:
            raise _verdict(refusal.recipients[0]) from None
        except SMTPSenderRefused as refusal:  # our own address: no mail would fare better
            raise MailServerAway(_status(refusal)) from None
        except SMTPResponseException as refusal:
            raise _verdict(refusal) from None
        except (SMTPNotSupported, ValueError) as error:  # an address that it cannot be given
            raise MailRefused(type(error).__name__) from None
        except (SMTPException, OSError) as error:
            raise MailPostponed(_status(error)) from None


class FileMailer:
    """Development's post office: `<directory>/<user>/<name>.eml`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def send(self, mail: Mail) -> None:
        try:
            await asyncio.to_thread(self._write, mail)
        except OSError as error:
            raise MailServerAway(_status(error)) from None

    async def read(self, user_id: str, name: str) -> bytes | None:
        """Return the mail of that name to that user, as it landed."""
        if not (_NAME.fullmatch(name) and ID.fullmatch(user_id)):
            return None
        with suppress(FileNotFoundError):
            return await asyncio.to_thread(self._path(user_id, name).read_bytes)
        return None

    def _write(self, mail: Mail) -> None:
        """Put the file there whole, so that nobody reads half a mail."""
        path = self._path(mail.user_id, mail.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            file.write(mail.message.as_bytes())
        os.replace(file.name, path)

    def _path(self, user_id: str, name: str) -> Path:
        return self._directory / user_id / f"{name}.eml"


def mailer_for(settings: Settings) -> SmtpMailer | FileMailer | None:
    """Return the way out for mails; None: there is none, they have to wait."""
    if url := settings.smtp_url.get_secret_value():
        return SmtpMailer(url, parseaddr(settings.mail_from)[1])
    return FileMailer(settings.data_dir / "mails") if settings.is_development else None


def _verdict(answer: SMTPResponseException) -> MailRefused | MailPostponed:
    """5xx is for good, everything else may pass (RFC 5321, 4.2.1)."""
    permanent = 500 <= answer.code < 600
    return (MailRefused if permanent else MailPostponed)(_status(answer))


def _status(error: Exception) -> str:
    """Return what may be logged of a failure: its kind, and the server's code."""
    kind = type(error).__name__
    return f"{kind} {error.code}" if isinstance(error, SMTPResponseException) else kind
