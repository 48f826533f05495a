"""Buyers: people with seats in mind, money or none, and second thoughts."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from server.crowd.figures import Figures
from server.crowd.visitor import Answer, Away, Visitor
from server.crowd.watchers import Hall

_MOST_SEATS = 4
_FEW = 0.1
"""Share of the hall: when no more is free, people give seats back, so that the show goes on."""
_THINKS = (0.5, 3.5)
_BACK = (1.0, 5.0)
"""Seconds, of which somebody takes some at random: to think, and to come back to a server."""
_LOOKS = 20
"""So often somebody looks whether a slow payment has come to its end."""


class Buyer:
    """One person who comes again and again, until cancelled; then `leave` is to be called."""

    def __init__(
        self,
        visitor: Visitor,
        email: str,
        hall: Hall,
        figures: Figures,
        turns: asyncio.Semaphore,
        pace: float,
    ) -> None:
        """`turns` bounds how many sign in at a time; at `pace` 2 people think half as long."""
        self._ask = visitor.call
        self._visitor = visitor
        self._email = email
        self._showtime = f"/api/showtimes/{hall.showtime_id}"
        self._lock = f"{self._showtime}/seats/lock"
        self._hall = hall
        self._figures = figures
        self._turns = turns
        self._pace = pace
        self._mine: list[str] = []
        """Seats that are locked, or may be."""
        self._has_booked = False
        """Whether a booking was asked for; it may still wait for money."""
        self._bookings: list[str] = []
        self._plans: dict[Callable[[], Awaitable[object]], int] = {
            self._buy: 40,
            self._change_mind: 20,
            self._hesitate: 10,
            self._let_go: 10,
            self._buy_without_money: 10,
            self._buy_slowly: 8,
            self._walk_away: 2,
        }

    async def live(self) -> None:
        while True:
            try:
                async with self._turns:
                    await self._visitor.sign_in(self._email)
                await self._let_go()  # what an earlier crowd has left behind
                while True:
                    await self._visit()
            except Away:
                await asyncio.sleep(random.uniform(*_BACK))  # noqa: S311

    async def leave(self) -> None:
        """Let go of what is locked or not paid, so that nobody has to wait for it to lapse."""
        try:
            await self._visitor.settled()
            if self._mine:
                await self._let_go()
            if self._has_booked:
                await self._give_up_bookings()
        except Away:
            pass
        finally:
            await self._visitor.close()

    async def _visit(self) -> None:
        await self._think()
        free = await self._free_seats()
        if len(free) <= _FEW * len(self._hall.index) and self._bookings:
            await self._cancel(self._bookings.pop())
        elif free:
            await self._think()  # in the meantime somebody else may take them
            wanted = random.sample(free, min(random.randint(1, _MOST_SEATS), len(free)))  # noqa: S311
            if await self._take(wanted):
                await self._think()
                (plan,) = random.choices([*self._plans], [*self._plans.values()])  # noqa: S311
                await plan()

    # -- plans --------------------------------------------------------------------------------

    async def _buy(self) -> None:
        await self._pay(await self._book(), "demo:approve")

    async def _buy_slowly(self) -> None:
        await self._pay(await self._book(), "demo:slow")

    async def _buy_without_money(self) -> None:
        """Be declined; then another card works, or there is none."""
        booking = await self._book()
        await self._pay(booking, "demo:decline")
        await self._think()
        if random.random() < 0.5:  # noqa: S311
            await self._pay(booking, "demo:approve")
        elif booking:
            await self._cancel(booking)

    async def _change_mind(self) -> None:
        """Let one seat go and take another instead."""
        await self._let_go(self._mine[:1])
        if free := await self._free_seats():
            await self._take([random.choice(free)])  # noqa: S311
        await self._think()
        if self._mine:
            await self._buy()

    async def _hesitate(self) -> None:
        self._count(await self._ask("extend", "POST", f"{self._lock}/extend"), "extended")
        await self._think()
        await self._let_go()

    async def _walk_away(self) -> None:
        """Leave the seats to lapse, and come back when they have."""
        answer = await self._ask("lock", "GET", self._lock)
        lock = answer.json()["lock"] if answer.status_code == 200 else None
        if lock:
            await asyncio.sleep(lock["expires_in_ms"] / 1000)
            self._mine = []
            self._figures.counts["left"] += 1

    # -- steps --------------------------------------------------------------------------------

    async def _think(self) -> None:
        await asyncio.sleep(random.uniform(*_THINKS) / self._pace)  # noqa: S311

    async def _free_seats(self) -> list[str]:
        answer = await self._ask("map", "GET", f"{self._showtime}/seat-map")
        if answer.status_code != 200:
            self._figures.counts["odd"] += 1
            return []
        pairs = zip(self._hall.index, answer.json()["states"], strict=True)
        return [seat for seat, state in pairs if state == "."]

    async def _take(self, seats: list[str]) -> bool:
        before, self._mine = self._mine, [*self._mine, *seats]
        answer = await self._ask("lock", "POST", self._lock, {"seats": seats})
        if not self._count(answer, "locked"):
            self._mine = before
            return False
        self._mine = answer.json()["lock"]["seats"]
        return True

    async def _let_go(self, seats: Sequence[str] = ()) -> None:
        query = f"?seats={','.join(seats)}" if seats else ""
        answer = await self._ask("release", "DELETE", f"{self._lock}{query}")
        if answer.status_code == 200 and answer.json()["released"]:
            self._figures.counts["released"] += 1
        self._mine = [seat for seat in self._mine if seats and seat not in seats]

    async def _book(self) -> str:
        """Return the id of a booking of what is locked; "" when it came too late."""
        body = {"showtime_id": self._hall.showtime_id, "seats": self._mine}
        self._has_booked = True
        answer = await self._ask("book", "POST", "/api/bookings", body)
        self._mine = []
        if not self._count(answer, "pending"):
            return ""
        booking: str = answer.json()["booking"]["id"]
        return booking

    async def _pay(self, booking: str, method: str) -> None:
        if not booking:
            return
        await self._think()
        path = f"/api/bookings/{booking}"
        answer = await self._ask(method, "POST", f"{path}/pay", {"payment_method": method})
        looks = 0
        while _is_paying(answer) and looks < _LOOKS:
            await self._think()
            answer, looks = await self._ask("booking", "GET", path), looks + 1
        self._paid(booking, answer)

    def _paid(self, booking: str, answer: Answer) -> None:
        if answer.status_code == 402:
            self._figures.counts["declined"] += 1
        elif answer.status_code == 200 and answer.json()["booking"]["status"] == "confirmed":
            self._figures.counts["booked"] += 1
            self._bookings.append(booking)
        else:
            self._count(answer, "unsettled")

    async def _cancel(self, booking: str) -> None:
        self._count(await self._ask("cancel", "DELETE", f"/api/bookings/{booking}"), "cancelled")

    async def _give_up_bookings(self) -> None:
        answer = await self._ask("bookings", "GET", "/api/bookings?status=pending")
        for booking in answer.json()["items"] if answer.is_success else []:
            if booking["showtime_id"] == self._hall.showtime_id:
                await self._cancel(booking["id"])

    def _count(self, answer: Answer, success: str) -> bool:
        """Count what came of it; a conflict is part of the game, anything else is odd."""
        conflict = answer.status_code in (402, 409)
        name = success if answer.is_success else "refused" if conflict else "odd"
        self._figures.counts[name] += 1
        return answer.is_success


def _is_paying(answer: Answer) -> bool:
    return answer.is_success and answer.json()["booking"]["status"] == "paying"
