"""What may happen in the life of a showtime: names, times, and chances, for Hypothesis."""

from itertools import permutations

from hypothesis import strategies as st

from server.repo.keys import partition_of

PARTITION = 0
SHOWTIMES = [s for s in (f"sho_{n}" for n in range(99)) if partition_of(s) == PARTITION][:2]
USERS = ["ann", "bob", "eve"]
SEATS = ["A1", "A2", "A3", "A4", "A5", "A6"]
BOOKINGS = ["bk1", "bk2", "bk3"]
ADDRESSES = ["192.0.2.1", "2001:db8::/64"]
TTL_MS = 300_000
MAX_SEATS = 4
MAX_AT_ADDRESS = 5
HOUR_MS = 3_600_000

showtimes, users, bookings = map(st.sampled_from, (SHOWTIMES, USERS, BOOKINGS))
addresses = st.sampled_from(["", *ADDRESSES])
few = st.sampled_from([p for count in (1, 2, 3) for p in permutations(SEATS, count)])
many = st.sampled_from([tuple(SEATS[first:]) + tuple(SEATS[:first]) for first in range(6)])
some = few | st.builds(lambda seats, count: seats[:count], many, st.sampled_from([4, 5]))
late = st.sampled_from([None, None, None, None, 0, 0, -1, 1])
"""First wait for the next deadline, so many ms before or after it; None: do not wait."""
times = st.sampled_from([1, 1, 3])
beside = st.sampled_from([0, -1, 1])
told = st.sampled_from([None, None, False, True])
"""What is told late of a booking: nothing, that it is claimed, that it is booked."""
mostly = st.sampled_from([True, True, True, False])
seldom = st.sampled_from([False, False, False, True])
ends = st.sampled_from([TTL_MS, HOUR_MS, 1, 0, -1])
leaps = st.sampled_from([1, 1_000, 60_000, TTL_MS - 1, HOUR_MS])
