"""Collection `signins`: sign-ins that have left for the provider and are not back yet."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from server.repo.mongo import Database, Document


@dataclass(frozen=True, slots=True)
class Transaction:
    """What the way back is checked against, and where it leads.

    `link_user` and `link_session` are set when it is no sign-in: somebody who is signed in wants
    to link the provider's identity with their account.
    """

    nonce: str
    verifier: str
    redirect_uri: str
    next_path: str
    link_user: str = ""
    link_session: str = ""


class SignInRepo:
    """`state_hash` names a transaction, `browser_hash` the browser that it belongs to."""

    def __init__(self, database: Database) -> None:
        self._rows = database["signins"]

    async def add(
        self, state_hash: str, browser_hash: str, transaction: Transaction, expires_at: datetime
    ) -> None:
        await self._rows.insert_one(
            {
                "_id": state_hash,
                "browser_hash": browser_hash,
                **asdict(transaction),
                "expires_at": expires_at,
            }
        )

    async def take(self, state_hash: str, browser_hash: str) -> Transaction | None:
        """Return a transaction and remove it, so that it serves once.

        One that belongs to another browser stays where it is, for that browser to finish.
        """
        row = await self._rows.find_one_and_delete(
            {
                "_id": state_hash,
                "browser_hash": browser_hash,
                "expires_at": {"$gt": datetime.now(UTC)},
            }
        )
        return _transaction_of(row) if row else None


def _transaction_of(row: Document) -> Transaction:
    return Transaction(
        row["nonce"],
        row["verifier"],
        row["redirect_uri"],
        row["next_path"],
        row.get("link_user", ""),
        row.get("link_session", ""),
    )
