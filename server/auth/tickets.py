"""Tickets: how a browser shows on a WebSocket who it is, without a token in the address."""

from datetime import UTC, datetime, timedelta

from server.auth.opaque import digest, new_secret
from server.errors import Unauthenticated
from server.models import Identity
from server.repo.tickets import TicketRepo

TICKET_TTL = 30
"""Seconds."""


class Tickets:
    def __init__(self, tickets: TicketRepo) -> None:
        self._tickets = tickets

    async def issue(self, identity: Identity) -> str:
        """Return a ticket that stands for `identity` once, within TICKET_TTL."""
        ticket = new_secret()
        expires_at = datetime.now(UTC) + timedelta(seconds=TICKET_TTL)
        await self._tickets.add(digest(ticket), identity, expires_at)
        return ticket

    async def redeem(self, ticket: str) -> Identity:
        """Return whose ticket this is, and spend it; raises Unauthenticated."""
        identity = await self._tickets.take(digest(ticket))
        if identity is None:
            raise Unauthenticated("The ticket is spent, expired or unknown.")
        return identity
