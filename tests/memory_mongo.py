"""MongoDB in memory, as far as the repos need it: so that they can be run by the thousand, each of
their calls at a moment of somebody's choosing.

One `MemoryMongo` is what is stored. A `MemoryDatabase` is how one process sees it: every call goes
through that process's `call`, which decides when it takes effect, and whether its answer comes.
Documents are never changed in place and never copied: who reads one must not change it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache, partial
from itertools import product
from types import SimpleNamespace
from typing import Any

from pymongo.errors import BulkWriteError, DuplicateKeyError

from server.repo.indexes import INDEXES
from tests.memory_expressions import Variables, evaluate
from tests.memory_filters import matches
from tests.memory_values import MISSING, Document, sort_key

Call = Callable[[str, Callable[[], Any]], Awaitable[Any]]
"""Performs one step (its name, what it does) at some moment, as a whole, and gives its answer."""

Written = Callable[[str, Document | None, Document | None], None]
"""Is told of every change: collection, document before, document after."""


Cut = Callable[[int], int]
"""Of so many documents to be inserted, says how many go in one step."""


async def at_once(name: str, effect: Callable[[], Any]) -> Any:
    return effect()


class Unique:
    """A unique index: which document has which keys. An array gives a key for each of its items."""

    def __init__(self, index: Document) -> None:
        self.pattern: dict[str, int] = dict(index["key"])
        self._partial: Document = dict(index.get("partialFilterExpression", {}))
        self._owners: dict[tuple[Any, ...], Any] = {}

    def taken(self, document: Document) -> bool:
        """Say whether another document has one of its keys."""
        owner = document["_id"]
        return any(self._owners.get(key, owner) != owner for key in self._keys(document))

    def move(self, before: Document | None, after: Document | None) -> None:
        for key in self._keys(before) if before else ():
            self._owners.pop(key, None)
        for key in self._keys(after) if after else ():
            self._owners[key] = after["_id"]  # type: ignore[index]

    def _keys(self, document: Document) -> Iterator[tuple[Any, ...]]:
        if not self._partial or matches(document, self._partial, {}):
            values = (document.get(name) for name in self.pattern)
            yield from product(*(v if isinstance(v, list) else [v] for v in values))


@dataclass
class Table:
    rows: dict[Any, Document] = field(default_factory=dict)
    uniques: list[Unique] = field(default_factory=list)


class MemoryMongo:
    """What is stored, and the clock that judges deadlines."""

    def __init__(self, now: Callable[[], datetime], written: Written | None = None) -> None:
        """`now`: UTC, in whole milliseconds."""
        self.now = now
        self.tables: dict[str, Table] = {}
        self._written = written

    def table(self, name: str) -> Table:
        table = self.tables.get(name)
        if table is None:
            indexes = [index.document for index in INDEXES.get(name, [])]
            uniques = [Unique(index) for index in indexes if index.get("unique")]
            table = self.tables[name] = Table(uniques=uniques)
        return table

    def variables(self) -> Variables:
        return Now(self.now)

    def write(self, name: str, before: Document | None, after: Document | None) -> None:
        """Replace one document by another; raises DuplicateKeyError, and then nothing changed."""
        table = self.table(name)
        if before is None and after is not None and after["_id"] in table.rows:
            raise _duplicate({"_id": 1})
        for unique in table.uniques if after else ():
            if unique.taken(after):  # type: ignore[arg-type]
                raise _duplicate(unique.pattern)
        for unique in table.uniques:
            unique.move(before, after)
        if after is None:
            del table.rows[before["_id"]]  # type: ignore[index]
        else:
            table.rows[after["_id"]] = after
        if self._written:
            self._written(name, before, after)


class Now(dict[str, Any]):
    """The variables of one step: its time, asked for when it is needed."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now

    def __missing__(self, name: str) -> Any:
        self[name] = value = self._now() if name == "NOW" else MISSING
        return value


def _duplicate(pattern: Mapping[str, int]) -> DuplicateKeyError:
    return DuplicateKeyError("E11000 duplicate key", 11000, {"keyPattern": dict(pattern)})


@dataclass(frozen=True, slots=True)
class _Result:
    """What a write tells: as much of pymongo's results as is asked for."""

    matched_count: int = 0
    modified_count: int = 0
    deleted_count: int = 0
    inserted_ids: Sequence[Any] = ()


class MemoryDatabase:
    """What a repo takes for a Motor database."""

    def __init__(self, stored: MemoryMongo, call: Call = at_once, cut: Cut = int) -> None:
        self.stored = stored
        self.call = call
        self.cut = cut

    def __getitem__(self, name: str) -> "MemoryCollection":
        return MemoryCollection(self, name)


@lru_cache
def _steps(collection: str) -> SimpleNamespace:
    """Return what the steps of a collection are called."""
    words = ("find", "find_one", "aggregate", "count_documents", "insert_one", "insert_many")
    words += ("update_one", "update_many", "find_one_and_update", "delete_one", "delete_many")
    return SimpleNamespace(**{word: f"{collection}.{word}" for word in words})


class MemoryCollection:
    def __init__(self, database: MemoryDatabase, name: str) -> None:
        self._stored = database.stored
        self._name = name
        self._table = database.stored.table(name)
        self._cut = database.cut
        self.call = database.call
        self.step = _steps(name)

    # -- reading ----------------------------------------------------------------------------------

    def find(
        self, where: Document | None = None, projection: Document | None = None
    ) -> "MemoryCursor":
        return MemoryCursor(self, where or {}, projection)

    async def find_one(
        self,
        where: Document | None = None,
        projection: Document | None = None,
        sort: Sequence[tuple[str, int]] | None = None,
    ) -> Document | None:
        rows: list[Document] = await self.call(
            self.step.find_one, lambda: self._found(where or {}, projection, dict(sort or ()), 1)
        )
        return rows[0] if rows else None

    async def count_documents(self, where: Document) -> int:
        found: list[Document] = await self.call(
            self.step.count_documents, lambda: self._found(where, None, {}, 0)
        )
        return len(found)

    def aggregate(self, pipeline: Sequence[Document]) -> "MemoryCursor":
        return MemoryCursor(self, {}, None, pipeline)

    # -- writing ----------------------------------------------------------------------------------

    async def insert_one(self, document: Document) -> None:
        await self.call(
            self.step.insert_one, lambda: self._stored.write(self._name, None, stored_as(document))
        )

    async def insert_many(self, documents: Sequence[Document], ordered: bool = True) -> _Result:
        """In one step or in several: others may come in between."""
        left = list(documents)
        while left:
            some = left[: self._cut(len(left))]
            await self.call(self.step.insert_many, partial(self._insert, some, ordered))
            del left[: len(some)]
        return _Result(inserted_ids=[document["_id"] for document in documents])

    async def update_one(
        self, where: Document, change: Document | list[Document], upsert: bool = False
    ) -> _Result:
        """`change` is a pipeline or made of operators; `upsert` needs a pipeline."""
        result: _Result = await self.call(
            self.step.update_one, lambda: self._update(where, change, upsert, 1)
        )
        return result

    async def update_many(self, where: Document, change: Document) -> _Result:
        result: _Result = await self.call(
            self.step.update_many, lambda: self._update(where, change, False, 0)
        )
        return result

    async def find_one_and_update(
        self,
        where: Document,
        stages: Sequence[Document],
        upsert: bool = False,
        return_document: bool = True,
    ) -> Document | None:
        assert return_document, "nobody asks for the document before"
        row: Document | None = await self.call(
            self.step.find_one_and_update, lambda: self._move(where, stages, upsert)
        )
        return row

    async def delete_one(self, where: Document) -> _Result:
        result: _Result = await self.call(self.step.delete_one, lambda: self._delete(where, 1))
        return result

    async def delete_many(self, where: Document) -> _Result:
        result: _Result = await self.call(self.step.delete_many, lambda: self._delete(where, 0))
        return result

    # -- inside: each a whole step ----------------------------------------------------------------

    def _found(
        self,
        where: Document,
        projection: Document | None,
        order: Mapping[str, int],
        limit: int,
    ) -> list[Document]:
        variables = self._stored.variables()
        rows = [row for row in self._candidates(where) if matches(row, where, variables)]
        if order:
            rows = _sorted(rows, order)
        if limit:
            del rows[limit:]
        return [_projected(row, projection) for row in rows] if projection else rows

    def _candidates(self, where: Document) -> list[Document]:
        """All rows, or those that the filter names by their ids."""
        wanted = where.get("_id", MISSING)
        if wanted is MISSING:
            return list(self._table.rows.values())
        rows = self._table.rows
        if isinstance(wanted, dict):
            if wanted.keys() != {"$in"} or len(wanted["$in"]) > len(rows):
                return list(rows.values())
            ids = sorted(wanted["$in"])
        else:
            ids = [wanted]
        return [rows[each] for each in ids if each in rows]

    def _piped(self, pipeline: Sequence[Document]) -> list[Document]:
        variables = self._stored.variables()
        rows: list[Document] | None = None
        for stage in pipeline:
            ((word, operand),) = stage.items()
            if rows is None:
                rows = self._candidates(operand if word == "$match" else {})
            if not rows:
                return []
            rows = self._stage(rows, word, operand, variables)
        return rows or []

    def _stage(
        self, rows: list[Document], word: str, operand: Any, variables: Variables
    ) -> list[Document]:
        if word == "$match":
            return [row for row in rows if matches(row, operand, variables)]
        if word == "$sort":
            return _sorted(rows, operand)
        if word == "$limit":
            return rows[:operand]
        if word == "$set":
            return [_set(row, operand, variables) for row in rows]
        if word == "$unwind":
            name = operand[1:]
            return [{**row, name: item} for row in rows for item in row.get(name, [])]
        if word == "$lookup":
            return [{**row, operand["as"]: self._joined(row, operand)} for row in rows]
        raise NotImplementedError(word)

    def _joined(self, row: Document, lookup: Document) -> list[Document]:
        other = self._stored.table(lookup["from"]).rows.values()
        value = row.get(lookup["localField"])
        return [each for each in other if each.get(lookup["foreignField"]) == value]

    def _insert(self, documents: Sequence[Document], ordered: bool) -> None:
        refused = []
        for number, document in enumerate(documents):
            try:
                self._stored.write(self._name, None, stored_as(document))
            except DuplicateKeyError as error:
                refused.append({"index": number, "code": error.code})
                if ordered:
                    break
        if refused:
            raise BulkWriteError({"writeErrors": refused, "writeConcernErrors": []})

    def _update(
        self, where: Document, change: Document | list[Document], upsert: bool, limit: int
    ) -> _Result:
        found, changed = self._found(where, None, {}, limit), 0
        if upsert and not found:
            assert isinstance(change, list), "nobody inserts by operators"
            self._move(where, change, upsert)
        for row in found:
            piped = isinstance(change, list)
            after = self._piped_through(row, change) if piped else _operated(row, change)
            changed += self._put(row, after)
        return _Result(matched_count=len(found), modified_count=changed)

    def _move(self, where: Document, stages: Sequence[Document], upsert: bool) -> Document | None:
        found = self._found(where, None, {}, 1)
        if not found and not upsert:
            return None
        named = {name: value for name, value in where.items() if name[0] != "$"}
        after = self._piped_through(found[0] if found else named, stages)
        self._put(found[0] if found else None, after)
        return after

    def _piped_through(self, row: Document, stages: Sequence[Document]) -> Document:
        variables = self._stored.variables()
        for stage in stages:
            ((word, operand),) = stage.items()
            if word == "$set":
                row = _set(row, operand, variables)
            elif word == "$unset":
                row = {name: value for name, value in row.items() if name != operand}
            else:
                raise NotImplementedError(word)
        return row

    def _put(self, before: Document | None, after: Document) -> bool:
        """Store a changed row; says whether it was changed."""
        if after == before:
            return False
        self._stored.write(self._name, before, after)
        return True

    def _delete(self, where: Document, limit: int) -> _Result:
        rows = self._found(where, None, {}, limit)
        for row in rows:
            self._stored.write(self._name, row, None)
        return _Result(deleted_count=len(rows))


class MemoryCursor:
    """What `find` and `aggregate` give: read whole, in one step, when it is first asked."""

    def __init__(
        self,
        collection: MemoryCollection,
        where: Document,
        projection: Document | None,
        pipeline: Sequence[Document] | None = None,
    ) -> None:
        self._collection = collection
        self._where = where
        self._projection = projection
        self._pipeline = pipeline
        self._order: dict[str, int] = {}
        self._limit = 0

    def sort(self, name: str, direction: int = 1) -> "MemoryCursor":
        self._order[name] = direction
        return self

    def limit(self, count: int) -> "MemoryCursor":
        self._limit = count
        return self

    async def to_list(self, length: int | None = None) -> list[Document]:
        rows = await self._read()
        return rows[:length] if length else rows

    async def __aiter__(self) -> AsyncIterator[Document]:
        for row in await self._read():
            yield row

    async def _read(self) -> list[Document]:
        inner, pipeline = self._collection, self._pipeline
        if pipeline is not None:
            return await inner.call(inner.step.aggregate, lambda: inner._piped(pipeline))  # type: ignore[no-any-return]
        rows: list[Document] = await inner.call(
            inner.step.find,
            lambda: inner._found(self._where, self._projection, self._order, self._limit),
        )
        return rows


def _sorted(rows: list[Document], order: Mapping[str, int]) -> list[Document]:
    """The last field first, and each time what is equal keeps its order."""
    if len(rows) > 1:
        for path, direction in reversed(order.items()):
            rows = sorted(rows, key=sort_key(path), reverse=direction < 0)
    return rows


def _operated(row: Document, change: Any) -> Document:
    after = dict(row)
    for word, operand in change.items():
        for name, value in operand.items():
            if word == "$set":
                after[name] = stored_as(value)
            elif word == "$unset":
                after.pop(name, None)
            elif word == "$pull":
                if name in after:
                    after[name] = [item for item in after[name] if item != value]
            else:
                raise NotImplementedError(word)
    return after


def _set(row: Document, changes: Document, variables: Variables) -> Document:
    """All expressions see the row as it was; a field that is set to what is missing goes."""
    after = row | {name: evaluate(to, row, variables) for name, to in changes.items()}
    if MISSING in after.values():
        return {name: value for name, value in after.items() if value is not MISSING}
    return after


def _projected(row: Document, projection: Document) -> Document:
    names = [name for name, wanted in projection.items() if wanted]
    if projection.get("_id", 1):
        names.append("_id")
    return {name: row[name] for name in names if name in row}


def stored_as(value: Any) -> Any:
    """Return a copy as BSON would hold it: times in whole milliseconds."""
    kind = type(value)
    if kind is dict:
        return {n: each if type(each) in _PLAIN else stored_as(each) for n, each in value.items()}
    if kind is list or kind is tuple:
        return [each if type(each) in _PLAIN else stored_as(each) for each in value]
    if isinstance(value, datetime) and value.microsecond % 1000:
        return value.replace(microsecond=value.microsecond // 1000 * 1000)
    return value


_PLAIN = {str, int, float, bool, type(None)}
