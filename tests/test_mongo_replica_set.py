"""MONGO_URI names three servers: the primary is killed while people buy, and nothing that was
acknowledged is lost."""

from pathlib import Path
from time import monotonic

import pytest

from server.embedded import EmbeddedValkey
from server.models import new_id
from tests.mongo_replica_set import replica_set
from tests.selling_crowd import crowd, some

pytestmark = [pytest.mark.slow, pytest.mark.alone]


async def test_a_killed_primary_costs_no_booking(
    tmp_path: Path, valkey: EmbeddedValkey, valkey_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with (
        replica_set(tmp_path) as members,
        crowd(tmp_path, valkey_url, members.uri(new_id("t")), watchers=20) as here,
    ):
        async with here.busy():
            await some(here, 100)
            sold, began = here.sold, monotonic()
            old = await members.kill_primary()
            new = await members.primary()
            elected = monotonic() - began
            assert new is not old
            await some(here, 100)
            going_on = monotonic() - began
        problems = await here.judged(lossy=False)
        sold_after = here.sold - sold
    with capsys.disabled():
        print(
            f"\na new primary after {elected:.1f} s, 100 more acts after {going_on:.1f} s; "
            f"{sold} bookings sold before, {sold_after} after"
        )
    assert not problems
    assert sold
    assert sold_after
