"""Who may import whom: the import column of the design, held by reading every import."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SERVER = ROOT / "server"

LEAVES = {
    "addresses", "booking", "build_info", "catalogue", "detached", "errors", "events",
    "log_context", "metrics", "models", "process_metrics", "redis_address", "redis_connection",
    "redis_nodes", "request_metrics", "secret_strength", "settings", "settings_checks",
    "socket_caps",
}  # fmt: skip
"""What every room shares: values, and how a server of Redis is found and signed in to, which calls
and listeners need alike. They import nothing of ours but each other."""

ROOMS = {"api", "auth", "crowd", "lua", "payments", "realtime", "repo"}

COMPOSITION = {
    "__main__", "app", "binaries", "child_server", "cli", "demo", "demo_halls", "embedded", "logs",
    "parts", "serving", "stores",
}  # fmt: skip
"""What starts Rowlock and puts it together: may import everything."""

MAY_IMPORT = {
    "leaf": {"leaf"},
    "lua": {"lua", "leaf"},
    "repo": {"repo", "lua", "leaf"},
    "auth": {"auth", "repo", "leaf"},
    "payments": {"payments", "repo", "leaf"},
    "service": {"service", "payments", "repo", "leaf"},
    "realtime": {"realtime", "leaf"},
    "api": {"api", "service", "auth", "leaf"},
    "crowd": {"crowd", "leaf"},
}

READ_SIDE = {"server.repo.seat_answers", "server.repo.keys"}
"""The values that a reader of the seat store gets, and the names it listens to."""

REACH = {
    "redis": {
        "redis_address.py",
        "redis_nodes.py",
        "repo/redis.py",
        "repo/redis_cluster.py",
        "repo/redis_server.py",
    },
    "hiredis": {"redis_connection.py", "repo/wire.py", "realtime/shard_wire.py"},
    "argon2": {"auth/passwords.py"},
    "zxcvbn": {"auth/password_rules.py"},
    "motor": {"repo/mongo.py"},
    "pymongo": {"repo/mongo.py"},
    "bson": {"repo/mongo.py"},
    "jwt": {"auth/tokens.py"},
    "pydantic_settings": {"settings.py"},
    "aiosmtplib": {"mail.py"},
    "segno": {"etickets.py"},
    "icalendar": {"ticket_calendar.py"},
    "jinja2": {"letters.py"},
    "stripe": {"payments/stripe.py"},
    "uvicorn": {"serving.py", "realtime/protocol.py", "realtime/framed.py"},
    "websockets": {"realtime/protocol.py", "realtime/framed.py", "crowd/watchers.py"},
}
"""Third parties that are known at one place only."""

FILES = sorted(SERVER.rglob("*.py"))


def room_of(module: str) -> str:
    """Return the room of a dotted module name below `server`."""
    parts = module.split(".")[1:]
    if not parts or parts[0] in COMPOSITION:
        return "composition"
    if parts[0] in ROOMS:
        return parts[0]
    return "leaf" if parts[0] in LEAVES else "service"


def module_of(path: Path) -> str:
    relative = path.relative_to(ROOT).with_suffix("")
    return ".".join(part for part in relative.parts if part != "__init__")


def imports_of(path: Path) -> set[str]:
    """Return every module that a file imports; `from a import b` counts as a.b where it is one."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            for alias in node.names:
                below = ROOT.joinpath(*node.module.split("."), alias.name)
                is_module = below.with_suffix(".py").exists() or below.is_dir()
                found.add(f"{node.module}.{alias.name}" if is_module else node.module)
    return found


def violations(path: Path, imports: set[str]) -> list[str]:
    module = module_of(path)
    room = room_of(module)
    if room == "composition":
        return []
    return [
        f"{module} ({room}) imports {name} ({room_of(name)})"
        for name in sorted(imports)
        if name.split(".")[0] == "server"
        and room_of(name) not in MAY_IMPORT[room]
        and not (room == "realtime" and name in READ_SIDE)
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SERVER)))
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    assert violations(path, imports_of(path)) == []


@pytest.mark.parametrize("package", REACH)
def test_a_third_party_reaches_the_code_at_one_place(package: str) -> None:
    users = {
        str(path.relative_to(SERVER))
        for path in FILES
        if package in {name.split(".")[0] for name in imports_of(path)}
    }
    assert users <= REACH[package]


@pytest.mark.parametrize("package", ["authlib", "joserfc"])
def test_sign_in_libraries_stay_in_their_room(package: str) -> None:
    users = {
        path.relative_to(SERVER).parts[0]
        for path in FILES
        if package in {name.split(".")[0] for name in imports_of(path)}
    }
    assert users <= {"auth"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SERVER)))
def test_only_the_settings_read_the_environment(path: Path) -> None:
    reads = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in ("environ", "environb", "getenv")
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    ]
    assert reads == [] or path.name == "settings.py"


def test_every_dependency_is_declared() -> None:
    """What server/ imports, pyproject.toml names."""
    declared = (ROOT / "pyproject.toml").read_text().lower()
    ours = {"server"} | set(sys.stdlib_module_names)
    names = {name.split(".")[0] for path in FILES for name in imports_of(path)} - ours
    distribution = {
        "jwt": "pyjwt",
        "argon2": "argon2-cffi",
        "bson": "pymongo",
        "pydantic_settings": "pydantic-settings",
        "prometheus_client": "prometheus-client",
        "swagger_ui_bundle": "swagger-ui-bundle-v2",
    }
    missing = {n for n in names if f'"{distribution.get(n, n)}' not in declared}
    assert missing == set()


def test_the_rules_can_be_broken() -> None:
    """An import that crosses a wall is seen."""
    service, edge = SERVER / "seats.py", SERVER / "api" / "seats.py"
    assert violations(service, {"server.api.seats"}) != []
    assert violations(service, {"server.realtime.hub"}) != []
    assert violations(edge, {"server.repo.seats"}) != []
    assert violations(edge, {"server.lua"}) != []
    assert violations(SERVER / "events.py", {"server.seats"}) != []
    assert violations(SERVER / "realtime" / "hub.py", {"server.repo.bookings"}) != []
    assert violations(SERVER / "repo" / "seats.py", {"server.seats"}) != []
