"""Every reason why a sign-in failed is told to the person in words of its own."""

import re
from pathlib import Path
from typing import get_args

import pytest

from server.auth.refusals import ACCOUNT, HOME, Reason, SignInFailed

FRONTEND = Path(__file__).parent.parent / "frontend"


def told():
    words = (FRONTEND / "wording.js").read_text()
    block = re.search(r"const SIGN_IN = \{(.*?)\n\};", words, re.DOTALL)[1]
    return dict(re.findall(r'^  (\w+):\s*"([^"]+)"', block, re.MULTILINE))


def test_the_page_has_words_for_exactly_these_reasons():
    assert set(told()) == set(get_args(Reason))


@pytest.mark.parametrize("reason", get_args(Reason))
def test_the_words_say_what_happened_in_whole_sentences(reason):
    words = told()[reason]
    assert re.fullmatch(r"[A-Z].+\.", words)
    assert list(told().values()).count(words) == 1


@pytest.mark.parametrize("page", [HOME, ACCOUNT])
def test_both_pages_show_them(page):
    element = {HOME: "showtimes", ACCOUNT: "account"}[page]
    assert "authError(state)" in (FRONTEND / "elements" / f"{element}.js").read_text()
    assert SignInFailed("access_denied", page).location == f"{page}?auth_error=access_denied"
