"""`rowlock serve` with its lock path changed, as a reference of `bench.locks`.

`plain`: the same promises without what makes them cheap. Each token is verified each time, each
script is a call of redis-py's, each audit entry a write of its own.
`unjournalled`: a promise less. A lock is answered before its audit entry is in MongoDB, where the
relay puts it later; a wiped Redis loses it.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from server import cli
from server.auth.tokens import AccessTokens
from server.lua import Script
from server.repo.redis import Scripts, answer
from server.repo.seat_journal import SeatJournal
from server.repo.seat_log import Logged


def plain() -> None:
    def remember(self: AccessTokens, token: str, known: object) -> None:
        pass

    async def reply(self: Scripts, script: Script, named: list[str | int]) -> Any:
        return await answer(self._call(script, named))

    async def write(self: SeatJournal, logged: Sequence[Logged]) -> None:
        await self._outbox.add_logged(logged)

    _replace(AccessTokens, _remember=remember)
    _replace(Scripts, _reply=reply)
    _replace(SeatJournal, write=write)


def unjournalled() -> None:
    async def write(self: SeatJournal, logged: Sequence[Logged]) -> None:
        pass

    _replace(SeatJournal, write=write)


def _replace(kind: type, **methods: Callable[..., Any]) -> None:
    for name, method in methods.items():
        if name not in vars(kind):
            raise AttributeError(f"{kind.__name__} has no {name} that could be changed")
        setattr(kind, name, method)


CHANGES: dict[str, Callable[[], None]] = {"plain": plain, "unjournalled": unjournalled}

if __name__ == "__main__":
    CHANGES[sys.argv.pop(1)]()
    cli.main()
