"""A mail server of our own on a real socket: what it takes is kept, and it can be difficult."""

import asyncio
import email
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session


class Connection(SMTP):
    """One client's; it has a second transport when it changes to TLS."""

    def __init__(self, transports: list[asyncio.Transport], handler: object, **options: Any):
        super().__init__(handler, **options)
        self._transports = transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transports.append(transport)
        super().connection_made(transport)


@dataclass
class Sink:
    """`refusals` (address -> reply) are given at RCPT, `data_reply` once a mail was handed over.

    A mail counts as received before its reply is sent, as with any server that dies in between.
    """

    port: int = 0
    refusals: dict[str, str] = field(default_factory=dict)
    data_reply: str = "250 OK"
    mails: list[EmailMessage] = field(default_factory=list)
    rcpts: list[str] = field(default_factory=list)
    arrived_at: list[float] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    busy: int = 0
    _server: asyncio.Server | None = None
    _transports: list[asyncio.Transport] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def ids(self) -> list[str]:
        return [mail["Message-ID"] for mail in self.mails]

    def to(self, address: str) -> list[EmailMessage]:
        return [mail for mail in self.mails if mail["To"].addresses[0].addr_spec == address]

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Take no more mails, answer for those that were taken, and leave."""
        if self._server is None:
            return
        self._server.close()
        while self.busy:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)  # until the last reply is out
        for transport in self._transports:
            transport.abort()
        self._transports.clear()
        await asyncio.sleep(0.01)  # until they are gone
        self._server = None

    def _connection(self) -> SMTP:
        options = {"hostname": "sink.test", "enable_SMTPUTF8": True, **self.options}
        return Connection(self._transports, self, **options)

    # -- what aiosmtpd calls ---------------------------------------------------------------------

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.rcpts.append(address)
        if refusal := self.refusals.get(address):
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        self.busy += 1
        try:
            if self.data_reply.startswith("250"):
                assert isinstance(envelope.content, bytes)
                self.mails.append(email.message_from_bytes(envelope.content, policy=default))
                self.arrived_at.append(asyncio.get_running_loop().time())
            return self.data_reply
        finally:
            self.busy -= 1


@asynccontextmanager
async def sinking(**options: Any) -> AsyncIterator[Sink]:
    sink = Sink(options=options)
    await sink.start()
    try:
        yield sink
    finally:
        await sink.stop()
