"""Calls for one particular pool process each: what `broadcast` sends.

Such a call waits for its process to be idle, not for a slot: the process could
run nothing else at that moment anyway, so the pool never has more than one
call per process. It takes no permit: it is short by definition.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hybrid.core.jobs.ticket import Outcome
from hybrid.errors import PoolBroken
from hybrid.pool.call import Call
from hybrid.pool.process.process_link import ProcessLink


class Broadcasts:
    """The broadcast calls of one process lane that wait or run."""

    def __init__(self) -> None:
        self._waiting: dict[ProcessLink, list[Call]] = {}
        self._answers: dict[Call, asyncio.Future[Any]] = {}

    def __bool__(self) -> bool:
        """Return whether any call waits or runs; nearly always False."""
        return bool(self._answers)

    def add(self, link: ProcessLink, call: Call, answer: asyncio.Future[Any]) -> None:
        """Put `call` in line for `link`."""
        self._waiting.setdefault(link, []).append(call)
        self._answers[call] = answer

    def next(self, link: ProcessLink) -> Call | None:
        """Take the next call of an idle process whose answer is awaited; None: there is none."""
        waiting = self._waiting.get(link)
        while waiting:
            call = waiting.pop(0)
            if not self._answers[call].done():
                return call
            del self._answers[call]
        return None

    def answered(self, call: Call, outcome: Outcome, value: Any) -> bool:
        """Answer a broadcast call; return False if `call` is another kind of call."""
        answer = self._answers.pop(call, None)
        if answer is None:
            return False
        if not answer.done():
            if outcome is Outcome.OK:
                answer.set_result(value)
            else:
                answer.set_exception(value)
        return True

    def lost(self, link: ProcessLink) -> None:
        """The process is gone, and with it what waited for it."""
        for call in self._waiting.pop(link, ()):
            error = PoolBroken(f"pool process {link.pid} died before it ran {call.job.name}")
            self.answered(call, Outcome.BROKEN, error)
