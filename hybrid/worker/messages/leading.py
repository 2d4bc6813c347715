"""Being the leader: the flag, and the application's hooks around it."""

from __future__ import annotations

import asyncio
from typing import Any

from hybrid.core.messages import link_messages as m
from hybrid.worker.hooks import Moment, registry
from hybrid.worker.messages.mailbox import Mailbox
from hybrid.worker.messages.primary_link import PrimaryLink


class LeaderDuties:
    """Follows the primary's orders, one after the other."""

    def __init__(
        self,
        mailbox: Mailbox,
        link: PrimaryLink,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._mailbox = mailbox
        self._link = link
        self._loop = loop
        self._last: asyncio.Task[None] | None = None
        self._leaves = False

    def hear(self, message: m.Lead | m.EventHappened) -> None:
        """Take an order or an event; each is dealt with when the one before is done."""
        if isinstance(message, m.EventHappened) and not registry.at(Moment.EVENT):
            return
        self._last = self._loop.create_task(self._after(self._last, message))

    async def step_down(self) -> None:
        """Lead no more, and wait until the hooks have ended the leader's work.

        For a worker that leaves: it may be done before the primary's order arrives.
        """
        self._leaves = True
        if self._mailbox.is_leader:
            self.hear(m.Lead(leads=False))
        if self._last is not None:
            await asyncio.wait([self._last])

    async def _after(
        self, before: asyncio.Task[Any] | None, message: m.Lead | m.EventHappened
    ) -> None:
        if before is not None and not before.done():
            await asyncio.wait([before])
        if isinstance(message, m.EventHappened):
            if not self._leaves:  # news would only keep it from leaving
                await registry.run(Moment.EVENT, message.event)
        elif message.leads:
            self._mailbox.is_leader = True
            await registry.run(Moment.LEADERSHIP, True)
        else:
            if self._mailbox.is_leader:
                self._mailbox.is_leader = False
                # The next one is appointed only when these are done: they end the work here.
                await registry.run(Moment.LEADERSHIP, False)
            self._link.send(m.LeadGivenUp())
