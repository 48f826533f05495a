"""Pauses between attempts."""

from server.realtime.backoff import pause


def test_pauses_grow_to_their_limit_and_stay_there_however_long_the_outage() -> None:
    for failures in (0, 1, 5, 100, 100_000):
        for _ in range(50):
            assert 0.05 <= pause(failures, 0.05, 2.0) <= min(2.0, 0.05 * 2 ** min(failures, 10))
    assert max(pause(100_000, 0.05, 2.0) for _ in range(200)) > 1.0
