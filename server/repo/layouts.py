"""Collection `layouts`: drawings under the hash of their content, never changed or removed."""

from server.catalogue import Layout
from server.repo.mongo import Database, insert_missing


class LayoutRepo:
    def __init__(self, database: Database) -> None:
        self._rows = database["layouts"]
        self._known: dict[str, Layout] = {}

    async def get(self, layout_id: str) -> Layout:
        """Return a layout; read once and then kept, as it cannot change.

        Raises KeyError when it was never stored.
        """
        layout = self._known.get(layout_id)
        if layout is None:
            row = await self._rows.find_one({"_id": layout_id})
            if row is None:
                raise KeyError(layout_id)
            layout = self._known[layout_id] = Layout.from_json(row)
        return layout

    async def add_missing(self, layouts: list[Layout]) -> int:
        """Store the drawings that are new; return how many."""
        rows = [{"_id": layout.id, **layout.as_json()} for layout in layouts]
        return await insert_missing(self._rows, rows)
