"""Passwords: which are taken, how they are hashed, and that nobody waits for it who need not."""

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type

from server.auth.password_rules import MAX_LENGTH, MIN_LENGTH, prepared, refuse_weak
from server.auth.passwords import MAX_WAITING, THREADS, Passwords
from server.errors import RateLimited, WeakPassword
from tests.accounts import ANOTHER, CHEAP, PASSWORD, CountingHasher
from tests.processes import until

# -- hashes ----------------------------------------------------------------------------------------


async def test_a_hash_is_argon2id_at_the_second_recommendation_of_rfc_9106():
    kept = await Passwords().accept(PASSWORD, ())
    found = extract_parameters(kept)
    assert (found.type, found.version) == (Type.ID, 19)
    assert (found.time_cost, found.memory_cost, found.parallelism) == (3, 64 * 1024, 4)
    assert (found.salt_len, found.hash_len) == (16, 32)


async def test_only_the_same_password_matches():
    passwords = Passwords(CHEAP)
    kept = await passwords.accept(PASSWORD, ())
    assert await passwords.matches(PASSWORD, kept)
    for other in ("", PASSWORD.upper(), PASSWORD + " ", PASSWORD[:-1], PASSWORD + "\0", ANOTHER):
        assert not await passwords.matches(other, kept)


async def test_one_password_has_a_new_hash_each_time():
    passwords = Passwords(CHEAP)
    assert len({await passwords.hash(PASSWORD) for _ in range(5)}) == 5


async def test_without_a_hash_as_much_is_done_and_nothing_matches():
    hasher = CountingHasher()
    passwords = Passwords(hasher)
    assert not await passwords.matches(PASSWORD, None)
    assert not await passwords.matches("", None)
    assert (hasher.verified, hasher.hashed) == (2, 0)


async def test_without_a_hash_nothing_matches_whatever_the_decoy_says():
    class SaysYes(PasswordHasher):
        def verify(self, kept, password):
            return True

    passwords = Passwords(SaysYes())
    assert await passwords.matches(PASSWORD, "a hash")
    assert not await passwords.matches(PASSWORD, None)


async def test_the_decoy_costs_what_a_hash_of_today_costs():
    seen = []

    class Watched(PasswordHasher):
        def verify(self, kept, password):
            seen.append(kept)
            return super().verify(kept, password)

    hasher = Watched(time_cost=2, memory_cost=64, parallelism=2)
    for passwords in (Passwords(hasher), Passwords(hasher)):
        await passwords.matches(PASSWORD, None)
    today = extract_parameters(hasher.hash(PASSWORD))
    assert [extract_parameters(kept) for kept in seen] == [today, today]
    assert len(set(seen)) == 2  # nobody knows it beforehand


@pytest.mark.parametrize(
    "kept", ["", "x", "$argon2id$", "$2b$12$abc", "$argon2id$v=19$m=8,t=1,p=1$$"]
)
async def test_what_is_no_hash_matches_nothing(kept):
    assert not await Passwords(CHEAP).matches(PASSWORD, kept)


async def test_a_hash_of_another_cost_is_dated():
    passwords = Passwords(CHEAP)
    assert not passwords.is_dated(await passwords.hash(PASSWORD))
    assert passwords.is_dated(PasswordHasher(2, 8, 1).hash(PASSWORD))


# -- the event loop --------------------------------------------------------------------------------


class StuckHasher(PasswordHasher):
    """Verifies nothing until it is let; notes in which threads, and how nice they are."""

    def __init__(self):
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.let = threading.Event()
        self.threads = {}

    def verify(self, kept, password):
        thread = threading.get_native_id()
        self.threads[thread] = os.getpriority(os.PRIO_PROCESS, thread)
        assert self.let.wait(10)
        return super().verify(kept, password)


async def test_a_storm_of_sign_ins_does_not_hold_the_event_loop():
    """Nothing is hashed on the loop, two at a time elsewhere, and those give way to the loop."""
    hasher = StuckHasher()
    passwords = Passwords(hasher)
    storm = asyncio.gather(*(passwords.matches(PASSWORD, None) for _ in range(12)))
    await until(lambda: len(hasher.threads) == THREADS, 10, "all threads are at work")
    assert not storm.done()
    hasher.let.set()
    await storm
    mine = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert len(hasher.threads) == THREADS
    assert threading.get_native_id() not in hasher.threads
    assert set(hasher.threads.values()) == {mine + 5 if sys.platform == "linux" else mine}


async def test_of_a_storm_those_are_turned_away_who_would_wait_too_long():
    hasher = CountingHasher()
    passwords = Passwords(hasher)
    many = THREADS + MAX_WAITING + 50
    answers = await asyncio.gather(
        *(passwords.matches(PASSWORD, None) for _ in range(many)), return_exceptions=True
    )
    refused = [answer for answer in answers if isinstance(answer, RateLimited)]
    assert len(refused) == 50
    assert {error.headers["Retry-After"] for error in refused} == {"3"}
    assert hasher.verified == THREADS + MAX_WAITING
    assert not await passwords.matches(PASSWORD, None)  # the storm is over


async def test_whoever_hangs_up_is_counted_until_the_work_is_done():
    hasher = CountingHasher()
    passwords = Passwords(hasher)
    tasks = [asyncio.create_task(passwords.hash(PASSWORD)) for _ in range(THREADS + MAX_WAITING)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0.05)
    assert await passwords.matches(PASSWORD, await passwords.hash(PASSWORD))


async def test_threads_go_with_their_owner():
    passwords = Passwords(CHEAP)
    await passwords.hash(PASSWORD)
    threads = list(passwords._threads._threads)
    del passwords
    gc.collect()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


# -- which are taken -------------------------------------------------------------------------------

GOOD = [
    PASSWORD,
    ANOTHER,
    "korrekt hest batteri hæfteklamme",
    "seven\tgrey\nherons",
    "fünf grüne Äpfel im Mai",
    "голубая чашка на столе",
    "春眠不覚暁処処聞啼鳥夜来",
    "🐙🦊🐝🌵🍋🛶🎻🧭🪁🧊🪵🫐",
    "xkqzvwpjhfgm",
    "quiet\x00otter\x00lamp",
    "no digits, no capitals either",
    "   leading and trailing   ",
    "9f2c7be1d04a",
    "v" + "qxjzkw3" * 36 + "!!!",
]

COMMON = [
    "password1234",
    "Password123!!",
    "P@ssw0rd12345",
    "qwertyuiop12",
    "1q2w3e4r5t6y",
    "aaaaaaaaaaaa",
    "abcdefghijkl",
    "123456789012",
    "letmeinletmein",
    "iloveyou1234",
    "drowssap4321",
    "PASSWORDPASSWORD",
    "ｐａｓｓｗｏｒｄ１２３４",
    "a" * MAX_LENGTH,
    "password" * 30,
]

PERSONAL = [
    "ada.lovelace@example.com",
    "ADA.LOVELACE@EXAMPLE.COM",
    "AdaLovelace1",
    "lovelacelovelace",
    "rowlock2026!",
    "Rowlock-Rowlock-1",
    "lovelace-example-ada",
    "ｌｏｖｅｌａｃｅ１２３４５",
]

OWNER = ("ada.lovelace@example.com", "Ada Lovelace")


def reason(password, personal=OWNER):
    with pytest.raises(WeakPassword) as refused:
        refuse_weak(password, personal)
    assert password not in str(refused.value) or not password
    return refused.value.fields["reason"]


@pytest.mark.parametrize("password", GOOD)
async def test_any_characters_are_taken_and_verified_as_they_are(password):
    passwords = Passwords(CHEAP)
    assert await passwords.matches(password, await passwords.accept(password, OWNER))


@pytest.mark.parametrize("password", COMMON)
def test_what_many_use_is_refused_whatever_its_length(password):
    assert reason(password) == "common"


@pytest.mark.parametrize("password", PERSONAL)
def test_what_is_known_of_the_owner_is_no_password(password):
    assert reason(password) in ("personal", "common")


@pytest.mark.parametrize("name", ["Eve", "Bob", "Ada"])
def test_a_name_of_three_letters_is_one_as_well(name):
    again = " ".join([name.lower()] * 4)
    assert reason(again, (f"{name}@example.com", name)) == "personal"


def test_the_same_is_taken_from_somebody_else():
    refuse_weak("lovelace-turing-ada", ("grace@example.com", "Grace Hopper"))
    assert reason("lovelace-ada") == "personal"


def test_personal_words_do_no_harm_beside_others():
    refuse_weak("lovelace rides seven grey herons", OWNER)


@pytest.mark.parametrize("length", [0, 1, 8, MIN_LENGTH - 1])
def test_short_ones_are_refused(length):
    assert reason("xkqzvwpjhfgm"[:length]) == "too_short"


def test_length_is_counted_in_characters():
    assert reason("é" * 6) == "too_short"
    refuse_weak("xkqzvwpjhfgm"[:MIN_LENGTH])


def test_the_same_text_is_the_same_password_on_every_keyboard():
    """RFC 8265, OpaqueString: NFC and plain spaces, and nothing else is changed."""
    assert prepared("cafe\u0301 au\u00a0lait") == prepared("caf\u00e9 au lait")
    for one, other in [("ﬁ", "fi"), ("A", "a"), ("①", "1"), (" x", "x"), ("K", "k"), ("ß", "ss")]:
        assert prepared(one) != prepared(other)
    assert prepared("a\ud800b") == b"a\xed\xa0\x80b"


async def test_nothing_is_cut_off():
    passwords = Passwords(CHEAP)
    long = "qxjzkw3!" * 32
    assert len(long) == MAX_LENGTH
    kept = await passwords.accept(long, ())
    assert not await passwords.matches(long[:-1], kept)
    assert not await passwords.matches(long[:-1] + "?", kept)


@pytest.mark.parametrize(
    "hostile", ["4@8({[<369!1|0$5+7%2" * 12, "483(6107%259" * 20, "\u0301" * 256, "ﷺ" * 256]
)
def test_no_text_takes_long_to_judge(hostile):
    """The first one took half a second before its signs were folded."""
    with pytest.raises(WeakPassword):
        refuse_weak("password1234")  # loads the lists
    began = time.process_time()
    with suppress(WeakPassword):
        refuse_weak(hostile, OWNER)
    assert time.process_time() - began < 0.2


def test_the_top_of_the_list_is_refused_in_every_dress():
    """ASVS 5.0, 6.2.4: at least the 3,000 most common ones that are long enough.

    The list holds few that are; so the first of it are tried as people make them longer, too.
    """
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    listed = FREQUENCY_LISTS["passwords"]
    long_enough = [word for word in listed if len(word) >= MIN_LENGTH]
    assert len(long_enough) > 200
    dressed = [_dressed(word) for word in listed[:400]]
    taken = [word for word in [*long_enough, *dressed] if not _is_refused(word)]
    assert taken == []


def _dressed(word):
    return (word * MIN_LENGTH)[: len(word) * -(-MIN_LENGTH // len(word))].capitalize()


def _is_refused(word):
    try:
        refuse_weak(word)
    except WeakPassword:
        return True
    return False


def test_the_lists_are_loaded_only_when_somebody_registers():
    code = "import server.app, sys; assert 'zxcvbn' not in sys.modules, 'loaded'"
    subprocess.run([sys.executable, "-c", code], check=True)
