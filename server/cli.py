"""The `rowlock` command: every way to start a piece of Rowlock, and its composition."""

import argparse
import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

from server import demo, logs, metrics, stores
from server.app import build, run_check, run_workers
from server.auth.build import build_auth
from server.binaries import EmbeddedError
from server.crowd import crowd
from server.crowd.screen import Terminal
from server.crowd.visitor import CrowdError
from server.parent_death import end_with_parent
from server.repo.users import Users
from server.serving import ServingError, bind, reserved, serve
from server.settings import Settings, SettingsError, environment_with, load
from server.settings_checks import doubts
from server.stores import StoreError
from server.supervisor import Supervisor

logger = logging.getLogger("rowlock.cli")

Command = Callable[[Settings, argparse.Namespace], Coroutine[None, None, None]]

STOPPED = 128 + signal.SIGINT

BANNER = """
  Rowlock is open at {origin}

{people}  Ctrl-C stops everything; data is kept.
"""
PEOPLE = """  Sign in as   ada@example.com   (ADMIN)
               bob@example.com
               eve@example.com

"""


class CommandError(Exception):
    """The command cannot do what was asked; the message is one line for a person."""


REFUSALS = (SettingsError, ServingError, StoreError, EmbeddedError, CrowdError, CommandError)
"""What a person can put right: told in one line, without a traceback."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = _parser().parse_args(argv)
    if arguments.endless and arguments.with_parent:
        end_with_parent()
    try:
        settings = load()
        logs.configure(settings)
        for doubt in doubts(settings):
            logger.warning(doubt)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            finished = runner.run(_until_signal(arguments.command(settings, arguments)))
    except REFUSALS as error:
        print(f"rowlock: {error}", file=sys.stderr)
        return 1
    return 0 if finished or arguments.endless else STOPPED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rowlock", description="Seat booking. Configured by the environment: see .env.example."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Command, about: str, *, endless: bool = False) -> None:
        added = commands.add_parser(name, help=about, description=about)
        added.set_defaults(command=command, endless=endless)
        if command is grant_admin:
            added.add_argument("email", metavar="EMAIL")
        if command is simulate:
            _ask_for_a_crowd(added)
        if endless:
            added.add_argument(
                "--with-parent", action="store_true", help="stop when the caller ends (Linux)"
            )
        if command is serve_alone:
            added.add_argument(
                "--workers",
                type=_from(1),
                default=1,
                metavar="N",
                help="so many processes on the port, and one for the background work",
            )
            added.add_argument("--shared-port", action="store_true", help=argparse.SUPPRESS)

    add("dev", dev, "development server with stores, demo catalogue and demo people", endless=True)
    add("serve", serve_alone, "server", endless=True)
    add("worker", worker, "background work alone", endless=True)
    add("seed", seed, "load the demo catalogue")
    add("indexes", indexes, "create the indexes that MongoDB lacks")
    add("check", check, "look for broken promises in Redis and MongoDB")
    add("grant-admin", grant_admin, "make a person ADMIN")
    add("simulate", simulate, "send a crowd to a running development server, and see the map move")
    return parser


def _from(least: int) -> Callable[[str], int]:
    """Return what reads a number of at least so much."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {least} on")
        return int(text)

    return read


def _ask_for_a_crowd(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--watchers", type=_from(0), default=100, metavar="N", help="default 100")
    parser.add_argument("--buyers", type=_from(0), default=10, metavar="M", help="default 10")
    parser.add_argument("--server", default="", metavar="URL", help="default: that of the settings")
    parser.add_argument("--showtime", default="", metavar="ID", help="default: an empty one")
    parser.add_argument("--seconds", type=float, metavar="S", help="default: until Ctrl-C")
    parser.add_argument(
        "--pace", type=_pace, default=1.0, metavar="X", help="at 2 buyers think half as long"
    )


def _pace(text: str) -> float:
    """Read how fast; raises ValueError."""
    if not (pace := float(text)) > 0:
        raise ValueError
    return pace


async def _until_signal(command: Coroutine[None, None, None]) -> bool:
    """Run `command`; Ctrl-C and SIGTERM cancel it. Say whether it came to its own end."""
    task = asyncio.create_task(command)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task
    return not task.cancelled()


async def dev(settings: Settings, _: argparse.Namespace) -> None:
    if not settings.is_development:
        raise CommandError(f"APP_ENV: is {settings.app_env}; `rowlock dev` is for development")
    with bind(settings.host, settings.port) as listener:
        if settings.lets_the_network_in_as_anybody:  # a container has to, or its port is not there
            logger.warning("HOST: whoever reaches %s may sign in as ADMIN", settings.host)
        async with stores.opened(_on_port_of(listener, settings)) as opened:
            async with stores.database(opened) as database:
                await demo.seed(database)
            await serve(build(opened), listener, lambda: print(_banner(opened), flush=True))


async def serve_alone(settings: Settings, arguments: argparse.Namespace) -> None:
    if settings.lets_the_network_in_as_anybody:
        raise CommandError(
            "APP_ENV: is development, where anybody may sign in as ADMIN, and HOST is"
            f" {settings.host}: set APP_ENV, or a HOST that only this machine reaches"
        )
    if arguments.workers > 1:
        await _serve_together(settings, arguments.workers)
        return
    with bind(settings.host, settings.port, shared=arguments.shared_port) as listener:
        async with stores.opened(_on_port_of(listener, settings)) as opened:
            await serve(build(opened), listener, lambda: _opened(opened))


async def _serve_together(settings: Settings, count: int) -> None:
    """Serve by several processes; the background work, which there is once, has its own."""
    commands = [["serve", "--shared-port"]] * count
    if settings.background_work == "on":
        commands.append(["worker"])
    with (
        TemporaryDirectory(prefix="rowlock-metrics-") as folder,
        reserved(settings.host, settings.port) as port,
    ):
        if settings.uses_development_provider:
            logger.warning(
                "--workers: each process has a built-in provider of its own; signing in takes one"
                " connection, or several tries"
            )
        async with stores.opened(settings) as opened:
            told = {
                "PORT": str(port),
                "REDIS_URL": opened.redis_url,
                "MONGO_URI": opened.mongo_uri,
                "BACKGROUND_WORK": "off",
                **metrics.counting_together(Path(folder)),
            }
            supervisor = Supervisor(
                commands, environment_with(told), lambda pid: metrics.forget(pid, Path(folder))
            )
            await supervisor.run()


async def worker(settings: Settings, _: argparse.Namespace) -> None:
    async with stores.opened(settings, share=True) as opened:
        await run_workers(opened, _started)


async def seed(settings: Settings, _: argparse.Namespace) -> None:
    async with stores.opened(settings, share=True) as opened, stores.database(opened) as database:
        await demo.seed(database)
    print("The demo catalogue is in place.")


async def indexes(settings: Settings, _: argparse.Namespace) -> None:
    async with stores.opened(settings, share=True):
        print("All indexes are in place.")


async def check(settings: Settings, _: argparse.Namespace) -> None:
    async with stores.opened(settings, share=True) as opened:
        violations = await run_check(opened)
    for violation in violations:
        print(violation)
    if violations:
        raise CommandError(f"{len(violations)} broken promises")
    print("Every promise holds.")


async def grant_admin(settings: Settings, arguments: argparse.Namespace) -> None:
    async with stores.opened(settings, share=True) as opened, stores.database(opened) as database:
        email = arguments.email
        if not await build_auth(opened, database).people.grant_admin(email):
            raise CommandError(await _no_admin(Users(database), email))
    print(f"{email} is ADMIN from the next token on.")


async def simulate(settings: Settings, arguments: argparse.Namespace) -> None:
    if not arguments.watchers + arguments.buyers:
        raise CommandError("nobody is to be sent: give --watchers or --buyers")
    wish = crowd.Wish(
        server=(arguments.server or settings.origin).rstrip("/"),
        showtime=arguments.showtime,
        watchers=arguments.watchers,
        buyers=arguments.buyers,
        seconds=arguments.seconds,
        pace=arguments.pace,
    )
    await crowd.show(wish, Terminal(sys.stdout))


async def _no_admin(users: Users, email: str) -> str:
    """Return why nobody became ADMIN."""
    if await users.with_email(email, verified=True):
        return f"{email} is blocked: another administrator has to let them in first"
    if await users.with_email(email):
        return f"nobody has proven to own {email}: it takes a provider's verified address"
    return f"nobody has signed in as {email} yet"


def _opened(settings: Settings) -> None:
    _collect_seldom()
    logger.info("open at %s", settings.origin)


def _started() -> None:
    _collect_seldom()
    logger.info("background work started")


def _collect_seldom() -> None:
    """What was made until now stays to the end: no collection has to look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


def _on_port_of(listener: socket.socket, settings: Settings) -> Settings:
    """Put the real port where PORT=0 asked for any."""
    return settings.model_copy(update={"port": listener.getsockname()[1]})


def _banner(settings: Settings) -> str:
    people = PEOPLE if settings.uses_development_provider else ""
    return BANNER.format(origin=settings.origin, people=people)
