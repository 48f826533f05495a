"""The checker against histories told by hand, against trying every order, and against the clock."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from math import inf
from random import Random

import pytest

from tests.linearizability import Search
from tests.seat_verdict import SEATS, unexplained
from tests.told_histories import NO_ORDER_FOR_THE_WHOLE, THERE_IS_AN_ORDER, THERE_IS_NO_ORDER


@pytest.mark.parametrize("what", THERE_IS_AN_ORDER)
def test_an_order_is_found(what: str) -> None:
    assert unexplained(THERE_IS_AN_ORDER[what]) == []


@pytest.mark.parametrize("what", THERE_IS_NO_ORDER)
def test_no_order_is_found_for_a_seat(what: str) -> None:
    seats = unexplained(THERE_IS_NO_ORDER[what])
    assert set(seats) & set(SEATS)
    assert seats[-1] == "hall"


@pytest.mark.parametrize("what", NO_ORDER_FOR_THE_WHOLE)
def test_no_order_is_found_for_the_whole(what: str) -> None:
    assert unexplained(NO_ORDER_FOR_THE_WHOLE[what]) == ["hall"]


@dataclass(frozen=True, slots=True)
class Cell:
    """An operation of a plain register: `write` sets it, `read` tells it, `swap` does both."""

    called: int
    returned: float
    kind: str
    value: int
    told: int = 0

    @property
    def idle(self) -> bool:
        return self.kind == "read" and self.returned < inf


def cell_step(operation: Cell, state: int) -> Sequence[int]:
    if operation.returned == inf:
        return (state,) if operation.kind == "read" else (state, operation.value)
    if operation.kind != "write" and operation.told != state:
        return ()
    return (state if operation.kind == "read" else operation.value,)


def test_the_search_agrees_with_trying_every_order() -> None:
    verdicts = []
    for seed in range(1_500):
        history = random_cells(Random(seed), 6)
        verdict = Search(history, 0, cell_step).run().explained
        assert verdict == by_trying(history), history
        verdicts.append(verdict)
    assert 150 < sum(bool(verdict) for verdict in verdicts) < 1_350


def random_cells(rng: Random, count: int) -> list[Cell]:
    """Calls and returns in any order, answers out of the air."""
    moments = rng.sample(range(count * 2), count * 2)
    cells = []
    for number in range(count):
        called, returned = sorted(moments[number * 2 : number * 2 + 2])
        kind = rng.choice(("write", "read", "read", "swap"))
        lost = rng.random() < 0.2
        value = rng.randint(0, 2)
        cells.append(Cell(called, inf if lost else returned, kind, value, rng.randint(0, 2)))
    return cells


def by_trying(history: Sequence[Cell]) -> bool:
    """Try every order of what has an answer and of any of the rest."""
    answered = [cell for cell in history if cell.returned < inf]
    lost = [cell for cell in history if cell.returned == inf]
    return any(
        runs(order)
        for count in range(len(lost) + 1)
        for some in combinations(lost, count)
        for order in permutations([*answered, *some])
    )


def runs(order: Sequence[Cell]) -> bool:
    state = 0
    for number, cell in enumerate(order):
        if any(later.returned < cell.called for later in order[number + 1 :]):
            return False
        if cell.returned < inf and cell.kind != "write" and cell.told != state:
            return False
        state = state if cell.kind == "read" else cell.value
    return True


@pytest.mark.slow
def test_the_search_is_quick(capsys: pytest.CaptureFixture[str]) -> None:
    """Eight at a time, three thousand in all; and the same with one answer that is wrong."""
    history = busy_cells(Random(1), 3_000)
    wrong = list(history)
    number = next(n for n in range(1_500, 3_000) if wrong[n].kind == "read")
    wrong[number] = replace(wrong[number], told=-1)
    started = time.perf_counter()
    assert Search(history, 0, cell_step).run().explained
    seconds = time.perf_counter() - started
    assert Search(wrong, 0, cell_step).run().explained is False
    with capsys.disabled():
        print(
            f"\n{len(history) / seconds:,.0f} operations of one long history explained per second"
        )
    assert time.perf_counter() - started < 20


def busy_cells(rng: Random, count: int) -> list[Cell]:
    """What eight clients of one register would record; each operation is done at some moment."""
    under_way: list[tuple[int, str, int, list[int]]] = []
    cells, state, moment, left = [], 0, 0, count
    while left or under_way:
        moment += 1
        if left and len(under_way) < 8 and rng.random() < 0.7:
            left -= 1
            under_way.append((moment, rng.choice(("write", "read", "swap")), rng.randint(0, 9), []))
            continue
        called, kind, value, done = under_way[rng.randrange(len(under_way))]
        if not done:
            done.append(state)
            state = state if kind == "read" else value
        else:
            under_way.remove((called, kind, value, done))
            cells.append(Cell(called, moment, kind, value, done[0]))
    return cells
