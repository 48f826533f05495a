from collections import Counter
import asyncio, pytest
from tests.processes import Mutant, mutated
from tests.sale import opened
from tests.test_wipe import _wipe, WIPES
FIX=[Mutant("bookings.py", "        return booking if inserted else await self.get(caller, booking_id)\n",
"""        if not inserted:
            return await self.get(caller, booking_id)
        await self._show_soon(booking, caller)  # Redis may have been lost since the checkout
        return booking
"""), Mutant("repo/bookings.py", '''                    "audit_due": True,
                }
            )
''', '''                    "audit_due": True,
                    "seats_due": True,
                }
            )
''')]
@pytest.mark.parametrize("n", range(6))
async def test_fixed(tmp_path, database, valkey_url, n):
    source = mutated(tmp_path / "source", FIX)
    async with opened(tmp_path, database, valkey_url, source=source) as sale:
        async with asyncio.TaskGroup() as together:
            together.create_task(sale.sell(buyers=100, tries=10_000))
            together.create_task(_wipe(sale.redis, WIPES))
        await sale.settled()
        await sale.checkpoint()
        violations = await sale.judge(lossy=True)
        print(f"\n{sale.report()}")
        assert not violations, (Counter(v.kind for v in violations), violations[:10])
        assert [process.errors() for process in sale.processes] == [[], []]
