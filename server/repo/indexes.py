"""The indexes of every collection; safe to run at every start."""

from server.repo.mongo import ASCENDING, DESCENDING, Database, IndexModel

INDEXES: dict[str, list[IndexModel]] = {
    "users": [
        # Local accounts that are linked with no identity have neither field.
        IndexModel(
            [("provider", ASCENDING), ("sub", ASCENDING)],
            name="identities",
            unique=True,
            partialFilterExpression={"sub": {"$exists": True}},
        ),
        IndexModel([("email", ASCENDING)]),
        # Of two people who register one address at the same moment, the second is refused.
        IndexModel(
            [("email", ASCENDING)],
            name="local_accounts",
            unique=True,
            partialFilterExpression={"password_hash": {"$exists": True}},
        ),
        IndexModel([("created_at", DESCENDING), ("_id", DESCENDING)]),
        IndexModel([("role", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)]),
        IndexModel(
            [("blocked", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)],
            name="blocked",
            partialFilterExpression={"blocked": True},
        ),
    ],
    "sessions": [
        IndexModel([("user_id", ASCENDING)]),
        IndexModel([("expires_at", ASCENDING)], expireAfterSeconds=0),
    ],
    "signins": [IndexModel([("expires_at", ASCENDING)], expireAfterSeconds=0)],
    "tickets": [IndexModel([("expires_at", ASCENDING)], expireAfterSeconds=0)],
    "movies": [IndexModel([("release_date", DESCENDING), ("_id", DESCENDING)])],
    "cinemas": [IndexModel([("city", ASCENDING)])],
    "showtimes": [
        IndexModel([("starts_at", ASCENDING), ("_id", ASCENDING)]),
        IndexModel([("movie_id", ASCENDING), ("starts_at", ASCENDING), ("_id", ASCENDING)]),
        IndexModel([("cinema_id", ASCENDING), ("starts_at", ASCENDING), ("_id", ASCENDING)]),
        IndexModel(
            [("status", ASCENDING)],
            name="cancelled",
            partialFilterExpression={"status": "cancelled"},
        ),
    ],
    "bookings": [
        # The last guard against a double sale: no seat of a showtime is claimed by two bookings.
        IndexModel(
            [("showtime_id", ASCENDING), ("claims", ASCENDING)],
            name="claims_guard",
            unique=True,
            partialFilterExpression={"claims": {"$exists": True}},
        ),
        IndexModel([("user_id", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)]),
        IndexModel([("created_at", DESCENDING), ("_id", DESCENDING)]),
        IndexModel([("showtime_id", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)]),
        IndexModel([("status", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)]),
        IndexModel(
            [("status", ASCENDING), ("expires_at", ASCENDING)],
            name="open_bookings",
            partialFilterExpression={"status": {"$in": ["pending", "paying"]}},
        ),
        IndexModel(
            [("audit_due", ASCENDING)],
            name="audit_due",
            partialFilterExpression={"audit_due": True},
        ),
        IndexModel(
            [("seats_due", ASCENDING)],
            name="seats_due",
            partialFilterExpression={"seats_due": True},
        ),
        IndexModel(
            [("refund_at", ASCENDING)],
            name="refunds_due",
            partialFilterExpression={"refund_due": True},
        ),
        IndexModel(
            [("notices", ASCENDING)],
            name="notices_due",
            partialFilterExpression={"notices": {"$gt": ""}},
        ),
        IndexModel(
            [("intent_id", ASCENDING)],
            name="intents",
            partialFilterExpression={"intent_id": {"$gt": ""}},
        ),
    ],
    "notifications": [
        IndexModel(
            [("status", ASCENDING), ("next_at", ASCENDING)],
            name="notifications_due",
            partialFilterExpression={"status": "due"},
        ),
    ],
    "idempotency": [IndexModel([("created_at", ASCENDING)], expireAfterSeconds=72 * 3600)],
    "webhook_events": [IndexModel([("done_at", ASCENDING)], expireAfterSeconds=7 * 24 * 3600)],
    "audit_logs": [
        IndexModel([("n", ASCENDING)], unique=True),
        IndexModel([("action", ASCENDING), ("n", DESCENDING)]),
        IndexModel([("actor.id", ASCENDING), ("n", DESCENDING)]),
        IndexModel([("target.showtime_id", ASCENDING), ("n", DESCENDING)]),
        IndexModel([("target.booking_id", ASCENDING), ("n", DESCENDING)]),
        IndexModel([("at", DESCENDING)]),
    ],
}

RETIRED = {"users": "provider_1_sub_1"}
"""An index of an earlier release by collection: it would let in one local account only."""


async def create_indexes(database: Database) -> None:
    """Create what is missing, and then drop what is retired."""
    for collection, indexes in INDEXES.items():
        await database[collection].create_indexes(indexes)
    for collection, name in RETIRED.items():
        if name in await database[collection].index_information():
            await database[collection].drop_index(name)
