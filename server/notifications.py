"""The notifier: sends what is due by mail, at least once, and as a rule exactly once.

Each notice is claimed, sent, and recorded as sent; whoever dies in between leaves a claim that
lapses, and the repeat carries the same Message-ID. Any number of copies may run.

A server that is away says nothing about a mail: the notifier waits as a whole and then tries with
one. A mail that the server puts off waits by itself; one that it refuses for good is given up with
an alert. Neither keeps the others waiting.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from server.correspondence import Correspondence
from server.mail import Mail, Mailer, MailPostponed, MailRefused, MailServerAway
from server.metrics import Metrics
from server.notices import ALMOST_SOLD_OUT
from server.repo.mongo import UNAVAILABLE
from server.repo.notifications import Notification, NotificationRepo
from server.repo.outbox import AuditRecord, Outbox

logger = logging.getLogger("rowlock.notifier")

LEASE_SECONDS = 45.0
"""Longer than a mail can take on its way: connecting, handing over, leaving."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0
"""Seconds between attempts; the longest bounds how long a mail lies after an outage."""
PATIENCE = 60
"""So many attempts at the pace above (about five minutes), then more slowly."""
SLOW_WAIT = 500.0
GIVE_UP_AFTER = 700
"""Attempts; at the slow pace that is about two days."""
ALERT_AFTER = 10
"""So often in a row the server was away (about forty seconds): a person is told."""

_SENDERS = 8


class Notifier:
    def __init__(
        self,
        notifications: NotificationRepo,
        correspondence: Correspondence,
        mailer: Mailer,
        outbox: Outbox,
        metrics: Metrics,
        *,
        pause: Callable[[int, float, float], float],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """`pause` gives the jittered wait after so many failures, between two bounds."""
        self._notifications = notifications
        self._correspondence = correspondence
        self._mailer = mailer
        self._outbox = outbox
        self._metrics = metrics
        self._pause = pause
        self._timer = timer
        self._under_way: set[asyncio.Task[None]] = set()
        self._trouble: BaseException | None = None
        self._failures = 0
        self._not_before = 0.0

    async def run_once(self) -> None:
        """Send what is due, so many at once; does not wait for the last ones.

        Raises what went wrong with the store, here or in a delivery since.
        """
        while not self._waits:
            if self._trouble:
                trouble, self._trouble = self._trouble, None
                raise trouble
            if len(self._under_way) >= (1 if self._failures else _SENDERS):
                await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
                continue
            claimed = await self._notifications.claim(LEASE_SECONDS)
            if claimed is None:
                return
            self._start(claimed)

    async def drain(self, seconds: float) -> None:
        """Wait for mails that are on their way, so that they need not be sent again."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=seconds)

    @property
    def _waits(self) -> bool:
        return self._timer() < self._not_before

    def _start(self, claimed: Notification) -> None:
        """A task of its own: a slow mail holds up no other, nor does the end of the process it."""
        task = asyncio.create_task(self._deliver(claimed))
        self._under_way.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            self._trouble = task.exception() or self._trouble

    async def _deliver(self, claimed: Notification) -> None:
        """Raises when MongoDB is away: then the claim lapses, and everything begins again."""
        try:
            mail = await self._correspondence.mail_for(claimed)
            if mail:
                await self._mailer.send(mail)
        except UNAVAILABLE:
            raise
        except MailServerAway as error:
            await self._wait(claimed, str(error))
        except MailPostponed as error:
            self._is_there()
            await self._later(claimed, str(error))
        except MailRefused as refusal:
            await self._give_up(claimed, str(refusal))
        except Exception as error:
            logger.exception("notice %s cannot be sent", claimed.id)
            await self._later(claimed, type(error).__name__)
        else:
            await self._record(claimed, mail)

    async def _record(self, claimed: Notification, mail: Mail | None) -> None:
        if mail is None:
            await self._notifications.end(claimed, "dropped", "nothing to tell any more")
        else:
            self._is_there()
            await self._notifications.sent(claimed)

    async def _later(self, claimed: Notification, reason: str) -> None:
        if claimed.attempts >= GIVE_UP_AFTER:
            await self._give_up(claimed, reason)
            return
        limit = LONGEST_WAIT if claimed.attempts < PATIENCE else SLOW_WAIT
        wait = self._pause(claimed.attempts, FIRST_WAIT, limit)
        await self._notifications.postpone(claimed, wait, in_vain=True)
        logger.info("notice %s goes on later: %s", claimed.id, reason)

    async def _give_up(self, claimed: Notification, reason: str) -> None:
        """Neither log nor audit entry names the address: the notice leads to it."""
        logger.error("notice %s was given up: %s", claimed.id, reason)
        self._metrics.alerts.labels("mail").inc()
        subject = "showtime_id" if claimed.notice.startswith(ALMOST_SOLD_OUT) else "booking_id"
        await self._alert(
            {"notice": claimed.notice, "reason": reason},
            target={subject: claimed.about},
            record_id=f"{claimed.id}-refused",
        )
        await self._notifications.end(claimed, "refused", reason)

    async def _wait(self, claimed: Notification, reason: str) -> None:
        """The server is away: nobody tries until the wait is over, then one mail does."""
        wait = self._pause(self._failures + 1, FIRST_WAIT, LONGEST_WAIT)
        await self._notifications.postpone(claimed, wait, in_vain=False)
        if self._waits:  # the others of a round find out together
            return
        self._failures += 1
        self._not_before = self._timer() + wait
        if self._failures == 1:
            logger.warning("the mail server is away, mails wait: %s", reason)
        if self._failures == ALERT_AFTER:
            logger.error("the mail server stays away, mails wait: %s", reason)
            self._metrics.alerts.labels("mail server").inc()
            await self._alert({"reason": reason})

    def _is_there(self) -> None:
        if self._failures:
            logger.info("the mail server is back")
        self._failures, self._not_before = 0, 0.0

    async def _alert(
        self,
        detail: dict[str, str],
        target: dict[str, str] | None = None,
        record_id: str | None = None,
    ) -> None:
        record = AuditRecord(
            "system.error", "error", target=target or {}, detail={"about": "mail", **detail}
        )
        await self._outbox.add(record, record_id)
