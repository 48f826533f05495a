"""A whole process with secrets that can be told apart: where do they turn up? In no place at all.

It runs with LOG_LEVEL=DEBUG, people sign in, book, pay and fail in every way, and then everything
that was written or answered is searched for each secret: those it was given, and those it made.
"""

import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from server.demo import seed
from tests.processes import REPOSITORY, servers
from tests.running import eventually
from tests.secret_flows import Seen, buy, canary, fail, renew, sign_in, ticket, watch

pytestmark = pytest.mark.slow


GIVEN = {
    "JWT_SECRET": canary("jwt"),
    "JWT_PREVIOUS_SECRETS": f"{canary('old')},{canary('older')}",
    "SMTP_URL": f"smtp://rowlock:{canary('smtp')}@127.0.0.1:1",
    "STRIPE_SECRET_KEY": canary("sk_test_"),
    "STRIPE_WEBHOOK_SECRET": canary("whsec_"),
}
SECRETS_GIVEN = [
    GIVEN["JWT_SECRET"],
    *GIVEN["JWT_PREVIOUS_SECRETS"].split(","),
    urlsplit(GIVEN["SMTP_URL"]).password or "",
    GIVEN["STRIPE_SECRET_KEY"],
    GIVEN["STRIPE_WEBHOOK_SECRET"],
]


async def test_no_secret_turns_up_anywhere(tmp_path, valkey_url, database, mongo):
    uri = f"mongodb://127.0.0.1:{mongo.port}/{database.name}?replicaSet=rs0"
    await seed(database)
    loud = {**GIVEN, "LOG_LEVEL": "DEBUG", "MAIL_FROM": "a@rowlock.test", "RATE_LIMITS": "on"}
    seen = Seen()
    async with servers(tmp_path, valkey_url, uri, **loud) as (process,):
        hooks = {"response": [seen.hear]}
        place = {"base_url": process.url, "timeout": 20, "event_hooks": hooks}
        async with httpx.AsyncClient(**place) as client, httpx.AsyncClient(**place) as stranger:
            await sign_in(client, "ada@example.com")
            spent = client.cookies["rowlock_refresh"]
            await buy(client)
            for shown in (await ticket(client), "x" * 40):
                await watch(client, shown, process.port)
            await client.get("/api/me")
            await client.get("/api/auth/sessions")
            await client.get("/api/admin/users")
            await fail(stranger, seen)
            await renew(client)
            again = {"Cookie": f"rowlock_refresh={spent}"}
            await client.post("/api/auth/refresh", headers=again)
            assert '"status": 401' in seen.problems[-1]
            await sign_in(client, "ada@example.com")

            async def audited() -> bool:
                entries = await client.get("/api/admin/audit", params={"limit": 200})
                return "auth.session_revoked" in entries.text

            await eventually(audited, within=20)
            await client.post("/api/auth/logout")
        await process.stop()
    assert process.errors() == []
    log = process.log()
    assert "GET /api/auth/google/callback 303" in log
    stored = await everything(database)
    places = {
        "the log": log,
        "the audit log": stored["audit_logs"] + stored["audit_outbox"],
        "the stores": " ".join(stored.values()),
        "an address": " ".join(seen.locations),
        "a problem document": " ".join(seen.problems),
    }
    kinds = {name.rpartition(" ")[0] for name in seen.secrets}
    assert {"access", "ticket", "code", "state", "nonce", "cookie rowlock_refresh"} <= kinds
    for place, text in places.items():
        hidden = [*SECRETS_GIVEN, *(seen.secrets[name] for name in hidden_from(place, seen))]
        assert [secret for secret in hidden if secret in text] == [], place
    assert [secret for secret in SECRETS_GIVEN if secret in " ".join(seen.bodies)] == []


def hidden_from(place: str, seen: Seen) -> list[str]:
    """A transaction of a sign-in keeps its nonce for as long as it is open."""
    return [name for name in seen.secrets if place != "the stores" or not name.startswith("nonce")]


async def everything(database) -> dict[str, str]:
    """All that is stored, as text, by collection."""
    found = {"audit_logs": "", "audit_outbox": ""}
    for name in await database.list_collection_names():
        rows = await database[name].find().to_list(None)
        found[name] = " ".join(map(str, rows))
    assert found["audit_logs"]
    return found


KEYS = re.compile(
    r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40}|[sr]k_live_[A-Za-z0-9]{20}|"
    r"sk_test_[A-Za-z0-9]{20}|whsec_[A-Za-z0-9]{24}|GOCSPX-[A-Za-z0-9_-]{28}|AKIA[0-9A-Z]{16}|"
    r"gh[pousr]_[A-Za-z0-9]{36}|xox[bp]-[0-9A-Za-z-]{20}"
)


def test_no_key_stands_in_the_repository():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    here = Path(__file__).name
    paths = [REPOSITORY / name for name in listed if name and not name.endswith(here)]
    assert len(paths) > 100
    found = {
        str(path): KEYS.findall(path.read_text(errors="replace"))
        for path in paths
        if path.is_file() and path.suffix not in (".png", ".ico")
    }
    assert {path: keys for path, keys in found.items() if keys} == {}


def test_the_search_would_find_one():
    assert KEYS.search("STRIPE_SECRET_KEY=sk_live_" + "a1B2" * 6)
    assert KEYS.search("-----BEGIN PRIVATE KEY-----\n" + "a1B2" * 10)
