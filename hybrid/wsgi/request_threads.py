"""The threads that run a WSGI application, and the line in front of them.

     event-loop thread                       |  a request thread
                                             |
     submit(work) --> SimpleQueue -----------+-> work.run()
     _collect() --> work.wake() <------------+-- tell(work), as often as there is news
                    (one call of the loop for all news that is there)

Rule 1: who is busy is counted by the event loop's thread alone: no lock.
Rule 2: threads are started on demand and kept. Daemon threads: application code that never
        returns must not keep the worker from exiting.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from queue import SimpleQueue
from typing import Protocol


class ThreadWork(Protocol):
    """What a request thread runs."""

    def run(self) -> None:
        """Run in a request thread; raises nothing."""

    def wake(self) -> None:
        """Hear on the event loop that there is news, or that `run` has returned."""


class RequestThreads:
    """At most `most` threads, and a line of at most `places` requests in front of them."""

    def __init__(self, most: int, places: int, loop: asyncio.AbstractEventLoop) -> None:
        self.most = most
        self.busy = 0  # requests that run or wait
        self._limit = most + places
        self._loop = loop
        self._queue: SimpleQueue[ThreadWork | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._news: deque[tuple[ThreadWork, bool]] = deque()
        self._is_told = False  # `_collect` is on its way

    @property
    def has_room(self) -> bool:
        """Whether one more request may run or wait."""
        return self.busy < self._limit

    def submit(self, work: ThreadWork) -> None:
        """Run `work` in a thread as soon as one is free."""
        self.busy += 1
        if len(self._threads) < min(self.busy, self.most):
            self._start_a_thread()
        self._queue.put(work)

    def _start_a_thread(self) -> None:
        name = f"hybrid-wsgi-{len(self._threads) + 1}"
        thread = threading.Thread(target=self._live, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no room for another one
            if not self._threads:
                self.busy -= 1
                raise
            return
        self._threads.append(thread)

    def _live(self) -> None:
        while (work := self._queue.get()) is not None:
            work.run()
            self.tell(work, is_over=True)
            del work  # an idle thread must not keep the last request alive

    def tell(self, work: ThreadWork, *, is_over: bool = False) -> None:
        """Have `work` woken on the event loop; called by its thread."""
        self._news.append((work, is_over))
        if self._is_told:
            return  # appended before this look: `_collect` finds it
        self._is_told = True
        try:
            self._loop.call_soon_threadsafe(self._collect)
        except RuntimeError:  # the loop is closed: nothing waits for the news
            return

    def _collect(self) -> None:
        self._is_told = False
        news = self._news
        while news:
            work, is_over = news.popleft()
            self.busy -= is_over
            work.wake()

    def close(self) -> None:
        """Let every thread end when its request has; the object must not be used again."""
        for _ in self._threads:
            self._queue.put(None)
