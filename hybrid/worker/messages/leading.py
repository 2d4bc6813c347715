"""Being the leader: the flag, and the application's hooks around it."""

from __future__ import annotations

import asyncio
from typing import Any

from hybrid.core.messages import link_messages as m
from hybrid.worker.hooks import Moment, registry
from hybrid.worker.messages.mailbox import Mailbox
from hybrid.worker.messages.primary_link import PrimaryLink


class LeaderDuties:
    """Performs the primary's orders about leadership, one after the other."""

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
        self._is_leaving = False

    def enqueue(self, message: m.Lead | m.EventHappened) -> None:
        """Perform an order or pass on an event, after the ones before it are done."""
        if isinstance(message, m.EventHappened) and not registry.at(Moment.EVENT):
            return
        self._last = self._loop.create_task(self._after(self._last, message))

    async def step_down(self) -> None:
        """Step down, and wait until the hooks have ended the leader's work.

        For a worker that leaves: it may be done before the primary's order arrives.
        """
        self._is_leaving = True
        if self._mailbox.is_leader:
            self.enqueue(m.Lead(leads=False))
        if self._last is not None:
            await asyncio.wait([self._last])

    async def _after(
        self, before: asyncio.Task[Any] | None, message: m.Lead | m.EventHappened
    ) -> None:
        if before is not None and not before.done():
            await asyncio.wait([before])
        if isinstance(message, m.EventHappened):
            if not self._is_leaving:  # an event would only delay its leaving
                await registry.run(Moment.EVENT, message.event)
        elif message.leads:
            self._mailbox.is_leader = True
            await registry.run(Moment.LEADERSHIP, True)
        else:
            if self._mailbox.is_leader:
                self._mailbox.is_leader = False
                # The next leader is appointed when these are done: they end this one's work.
                await registry.run(Moment.LEADERSHIP, False)
            self._link.send(m.LeadGivenUp())
