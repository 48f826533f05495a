"""How the figures of a crowd are counted and shown."""

from io import StringIO

import pytest

from server.crowd.figures import Figures, Spread
from server.crowd.screen import Terminal


def test_a_spread_knows_its_shares():
    spread = Spread()
    for ms in range(1, 1001):
        spread.add(ms)
    assert spread.at(0.5) == pytest.approx(500, rel=0.03)
    assert spread.at(0.99) == pytest.approx(990, rel=0.03)
    assert str(Spread()) == "-"


def test_a_change_counts_once_however_many_see_it():
    figures = Figures(3)
    for epoch, seq in [("e", 4), ("e", 4), ("e", 6), ("e", 5), ("e", 6), ("f", 9)]:
        figures.reached(epoch, seq)
    assert figures.counts["changes"] == 2


def test_a_terminal_gets_one_line_in_place():
    class Screen(StringIO):
        def isatty(self):
            return True

    out = Screen()
    terminal = Terminal(out)
    terminal.line("x" * 500)
    terminal.line("two")
    terminal.text("end")
    first, second = out.getvalue().split("\r")[1:]
    assert 3 < len(first) < 500
    assert second == "\x1b[2Ktwo\nend\n"
