"""The real seat scripts on a real store, under a clock that the test holds in its hand.

The scripts are copies of `server/lua` in which one include is another: `now` reads a key instead of
Redis TIME. Keys that end by themselves are moved along by hand when time passes. Locks, operations
and epochs get the names that the test gives, so that a run can be repeated to the letter.
"""

import asyncio
import shutil
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import hiredis

from server import lua
from server.events import ChangeSet, parse_change_set
from server.repo.claims import ClaimStore
from server.repo.keys import operation_key, showtime_keys, showtime_of_channel
from server.repo.redis import Scripts, connect
from server.repo.seat_journal import SeatJournal
from server.repo.seat_log import LogEntry, Logged, SeatLog, read_logged
from server.repo.seats import SeatStore
from tests.processes import Mutant

SLACK_MS = 10_000
"""Keys that end by themselves get so much longer when they are moved along: Redis counts the time
that the test really takes, too."""
BEGIN = round(datetime(2030, 1, 1, tzinfo=UTC).timestamp() * 1000)
"""The clock of every run starts here."""

_NOW = """--- The clock of the test: a key beside those of the script, in ms.
local function now()
  return tonumber(redis.call('GET', KEYS[1]:match('^[^}]+}') .. ':clock'))
end
"""

_EVERYTHING = """
local found = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind, value = redis.call('TYPE', key)['ok'], nil
  if kind == 'hash' then value = redis.call('HGETALL', key)
  elseif kind == 'zset' then value = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  elseif kind == 'stream' then
    value = { redis.call('XLEN', key), redis.call('XRANGE', key, '(' .. ARGV[1], '+') }
  else value = redis.call('GET', key) end
  found[#found + 1] = { key, kind, value, redis.call('PTTL', key) }
end
return found
"""


def timed_scripts(directory: Path, mutants: Sequence[Mutant] = ()) -> Path:
    """Copy the scripts with the test's clock, and with bugs planted; returns their folder."""
    folder = directory / "server" / "lua"
    shutil.copytree(lua.FOLDER, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (folder / "includes" / "now.lua").write_text(_NOW)
    for mutant in mutants:
        path = directory / "server" / mutant.file
        text = path.read_text()
        assert text.count(mutant.was) == 1, f"{mutant.was!r} does not stand once in {mutant.file}"
        path.write_text(text.replace(mutant.was, mutant.instead))
    return folder


class Wire:
    """One connection, a socket and a parser: many small commands cost less so."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._socket = socket.create_connection((address.hostname, address.port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader(encoding="utf-8")
        if database := address.path.strip("/"):
            self.call("SELECT", database)

    def send(self, *command: str | int) -> None:
        self.send_packed(hiredis.pack_command(command))

    def send_packed(self, request: bytes) -> None:
        """Send a request, or part of one."""
        self._socket.sendall(request)

    def receive(self) -> Any:
        """Return the next answer; raises hiredis.ReplyError when it is one."""
        while (reply := self._reader.gets()) is False:
            data = self._socket.recv(65_536)
            if not data:
                raise ConnectionError("the store hung up")
            self._reader.feed(data)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def call(self, *command: str | int) -> Any:
        self.send(*command)
        return self.receive()

    def close(self) -> None:
        self._socket.close()


class NamedScripts(Scripts):
    """The scripts of a folder, over one wire; random names are replaced by those of `new_id`."""

    def __init__(self, wire: Wire, redis: Any, folder: Path, new_id: Callable[[str], str]) -> None:
        self.redis = redis
        self._wire = wire
        self._new_id = new_id
        self._ended = lambda script, word: None
        self.words: Counter[tuple[str, str]] = Counter()
        self._scripts = {name: lua.load(name, folder) for name in lua.names(folder)}
        self._digests = {
            name: wire.call("SCRIPT", "LOAD", script.source)
            for name, script in self._scripts.items()
        }

    async def run(
        self, name: str, keys: Mapping[str, str], rest: Iterable[str] = (), **args: str | int
    ) -> tuple[str, list[Any]]:
        match name:
            case "lock_seats":
                args["lock_id"] = self._new_id("lock")
            case "extend_lock":
                args["operation"] = self._new_id("operation")
            case "release_seats":
                key = operation_key(str(args["showtime"]), self._new_id("operation"))
                keys = {**keys, "operation_key": key}
            case "rebuild_showtime" | "renew_epoch":
                args["epoch"] = self._new_id("epoch")
        word, reply = await super().run(name, keys, rest, **args)
        self.words[name, word] += 1
        return word, reply

    async def _reply(self, script: lua.Script, named: list[str | int]) -> Any:
        return self._wire.call("EVALSHA", self._digests[script.name], len(script.keys), *named)


class TimedStore:
    """The real stores of `server.repo` on those scripts, for showtimes of one partition.

    `now` is ms, and stands still. `number` is that of the operation under way: run again under the
    same number, it is the same operation.
    """

    def __init__(
        self,
        url: str,
        folder: Path,
        showtimes: Sequence[str],
        *,
        ttl_ms: int,
        max_seats_per_user: int,
        max_seats_per_address: int = 0,
    ) -> None:
        self.now, self.number = BEGIN, 0
        self._clock_key = showtime_keys(showtimes[0])["log_key"].removesuffix("log") + "clock"
        self._loop = asyncio.new_event_loop()
        self._wire, self._ear = Wire(url), Wire(url)
        self._redis = connect(url)
        self.journal: list[LogEntry] = []
        scripts = NamedScripts(self._wire, self._redis, folder, self.name)
        self.words = scripts.words
        self.seats = SeatStore(
            self._redis,
            scripts,
            ttl_seconds=ttl_ms / 1000,
            max_seats_per_user=max_seats_per_user,
            max_seats_per_address=max_seats_per_address,
            journal=cast(SeatJournal, self),
        )
        self.claims, self.log = ClaimStore(scripts), SeatLog(self._redis)
        self._everything = self._wire.call("SCRIPT", "LOAD", _EVERYTHING)
        for showtime in showtimes:
            self._ear.call("SSUBSCRIBE", showtime_keys(showtime)["channel"])

    def name(self, kind: str) -> str:
        """Name a lock, an operation or an epoch that the operation under way brings forth."""
        return f"{kind}_{self.number}"

    async def write(self, logged: Sequence[Logged]) -> None:
        """Be the journal of the seat store."""
        self.journal += [read_logged(each) for each in logged]

    def close(self) -> None:
        self._loop.run_until_complete(self._redis.aclose())
        self._loop.close()
        self._wire.close()
        self._ear.close()

    def begin(self) -> None:
        """Empty the store and set the clock back."""
        self.now = BEGIN
        self.wipe()
        self.heard()

    def wipe(self) -> None:
        self._wire.call("FLUSHDB")
        self._wire.call("SET", self._clock_key, self.now)

    def answer(self, call: Any) -> Any:
        """Run one call of a store to its end."""
        return self._loop.run_until_complete(call)

    def pass_time(self, milliseconds: int, ending: Mapping[str, int]) -> None:
        """Let time pass; `ending` says when which key ends by itself."""
        self.now += milliseconds
        self._wire.send("SET", self._clock_key, self.now)
        for key, until in ending.items():
            if until > self.now:
                self._wire.send("PEXPIRE", key, until - self.now + SLACK_MS)
            else:
                self._wire.send("DEL", key)
        for _ in range(len(ending) + 1):
            self._wire.receive()

    def heard_and_stored(
        self, after: str
    ) -> tuple[list[tuple[str, ChangeSet]], tuple[dict[str, Any], dict[str, int], list[Any]]]:
        """Return what was published since the last time, and what is stored.

        That is every key with its value; when those end that end by themselves; and the rows of the
        log after position `after`. Of the log itself the value is its length, none when it is 0.
        """
        self._wire.send("EVALSHA", self._everything, 0, after)
        return self.heard(), self._stored(self._wire.receive())

    def heard(self) -> list[tuple[str, ChangeSet]]:
        """Return what was published since the last time."""
        self._ear.send("PING")
        found = []
        while (message := self._ear.receive())[0] == "smessage":
            found.append((showtime_of_channel(message[1]), parse_change_set(message[2])))
        return found

    def _stored(self, found: list[Any]) -> tuple[dict[str, Any], dict[str, int], list[Any]]:
        values: dict[str, Any] = {}
        ending: dict[str, int] = {}
        rows: list[Any] = []
        for key, kind, value, left in found:
            if key == self._clock_key:
                continue
            if kind == "stream":
                length, rows = value
                values |= {key: length} if length else {}
            else:
                values[key] = value if kind == "string" else _pairs(value)
            if left >= 0:
                ending[key] = self.now + left
        return values, ending, rows


def _pairs(flat: list[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
