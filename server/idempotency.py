"""Answering a repeated request as the first one was answered."""

import asyncio
import hashlib
import json
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from server.detached import end
from server.errors import (
    IdempotencyInProgress,
    IdempotencyKeyMissing,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
    RateLimited,
    RowlockError,
    StoreUnavailable,
    Unauthenticated,
    UnknownSeats,
)
from server.repo.idempotency import LEASE_SECONDS, Answer, IdempotencyRepo

__all__ = ["Answer", "IdempotentRequests", "fingerprint", "key_of"]

logger = logging.getLogger("rowlock.idempotency")

MAX_KEY_LENGTH = 255
_NOT_AN_ANSWER = (
    *(StoreUnavailable, RateLimited, Unauthenticated),
    *(InvalidRequest, UnknownSeats, NotFound, IdempotencyKeyReused),
)
"""Refusals that are not kept: another time it may go well, or what was asked for makes no sense,
and may be put right under the same key."""


def key_of(header: str | None) -> str:
    """Return the Idempotency-Key; raises IdempotencyKeyMissing, or InvalidRequest for a bad one."""
    if not header:
        raise IdempotencyKeyMissing
    if len(header) > MAX_KEY_LENGTH or not header.isprintable():
        raise InvalidRequest(f"Idempotency-Key: up to {MAX_KEY_LENGTH} printable characters")
    return header


def fingerprint(target: str, body: dict[str, Any]) -> str:
    """Return what makes two requests the same: their target and their body, however spelled."""
    text = json.dumps([target, body], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class IdempotentRequests:
    def __init__(self, answers: IdempotencyRepo) -> None:
        self._answers = answers

    async def run(
        self,
        scope: str,
        key: str,
        request: str,
        work: Callable[[], Awaitable[Answer]],
        refusal: Callable[[RowlockError], Answer],
    ) -> tuple[Answer, bool]:
        """Do `work` once per key in `scope` (one user's one kind of request).

        Returns the answer and whether it is a replay. Refusals are answers too, rendered by
        `refusal` and kept. Raises IdempotencyKeyReused when the key came with another `request`
        fingerprint, IdempotencyInProgress while the first one runs.
        """
        row, token = f"{scope}:{key}", secrets.token_hex(8)
        begun = await self._answers.begin(row, request, token)
        if isinstance(begun, Answer):
            return begun, True
        if begun == "other_body":
            raise IdempotencyKeyReused
        if begun == "running":
            raise IdempotencyInProgress
        renewal = asyncio.create_task(self._renew(row, token))
        try:
            answer = await work()
        except Exception as error:
            if not isinstance(error, RowlockError) or isinstance(error, _NOT_AN_ANSWER):
                await self._answers.abandon(row, token)
                raise
            answer = refusal(error)
        finally:
            await end(renewal)
        stands = await self._answers.finish(row, token, answer)
        if stands is None:  # it took so long that a repeat has taken over
            raise IdempotencyInProgress
        return stands, stands != answer

    async def _renew(self, row: str, token: str) -> None:
        """Hold the key while the work goes on; what cannot be renewed is tried again."""
        while True:
            await asyncio.sleep(LEASE_SECONDS / 4)
            try:
                await self._answers.renew(row, token)
            except Exception as error:
                logger.warning("an Idempotency-Key could not be held: %r", error)
