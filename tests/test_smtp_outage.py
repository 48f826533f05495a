"""The mail server is gone for a minute, while a hundred people book. All their mails arrive."""

import asyncio
import time
from collections import Counter

import pytest

from server.notifications import LONGEST_WAIT
from tests.post_office import ROW_OF_100
from tests.running import booked, eventually, pay, running
from tests.smtp_sink import sinking

OUTAGE_SECONDS = 60.0
BOOKINGS = 100
SOON_SECONDS = 60.0
"""How long after the server's return the last mail may take, on a busy machine too."""


@pytest.mark.slow
async def test_a_minute_without_mail_server_loses_and_doubles_nothing(valkey, mongo) -> None:
    assert LONGEST_WAIT < SOON_SECONDS
    async with sinking() as sink:
        post = {"smtp_url": sink.url, "mail_from": "Rowlock <tickets@cinema.test>"}
        async with running(valkey, mongo, **post) as server:
            showtime = await server.showtime(layout=ROW_OF_100)

            async def buy(number: int) -> str:
                client = (server.bob, server.eve)[number % 2]
                booking = await booked(client, showtime, f"A{number + 1}")
                assert (await pay(client, booking)).status_code == 200
                return booking

            async def tickets() -> list[str]:
                told = [mail["Message-ID"] for mail in sink.mails]
                return [name for name in told if ".confirmed@" in name]

            await buy(0)
            await eventually(tickets)
            await sink.stop()
            gone_at = time.monotonic()
            sold = [
                await _at(gone_at + n * OUTAGE_SECONDS / BOOKINGS, buy(n)) for n in range(1, 100)
            ]
            await asyncio.sleep(max(0.0, gone_at + OUTAGE_SECONDS - time.monotonic()))
            waiting = len(sold) + 1 - len(await tickets())
            await sink.start()
            back_at = time.monotonic()

            async def all_are_there() -> bool:
                return len(set(await tickets())) == BOOKINGS

            await eventually(all_are_there, within=SOON_SECONDS)
            took = time.monotonic() - back_at
            await asyncio.sleep(2 * LONGEST_WAIT / 10)  # for one that would come twice
            arrived = Counter(await tickets())
    print(f"{waiting} mails waited; the last arrived {took:.1f} s after the server's return")
    assert waiting == BOOKINGS - 1
    assert set(arrived.values()) == {1}
    assert {f"<{booking}.confirmed@cinema.test>" for booking in sold} < set(arrived)


async def _at(moment: float, work):
    await asyncio.sleep(max(0.0, moment - time.monotonic()))
    return await work
