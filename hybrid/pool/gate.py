"""How a pool takes permits of the cluster, waits for one, and is rung when one is free."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from hybrid.system.memory.permits import RETRY, Permits


class PermitGate:
    """Lets a call through when the cluster has a permit for it.

    Without permits (``--cpu-limit none``) every call passes.
    """

    def __init__(
        self,
        permits: Permits | None,
        loop: asyncio.AbstractEventLoop,
        dispatch: Callable[[], None],
    ) -> None:
        self._permits, self._loop, self._dispatch = permits, loop, dispatch
        self._retry: asyncio.TimerHandle | None = None
        self._will_release = False  # what is kept
        self._took = False  # a permit, since the bell was answered
        self._is_patient = True  # until the next retry; see Permits.take
        if permits is not None:
            loop.add_reader(permits.fileno(), self._on_bell)

    def take(self, since: float) -> int | None:
        """Return a permit for a call that waits since `since`; -1: none is needed."""
        if self._permits is None:
            return -1
        permit = self._permits.take(since, self._is_patient)
        self._took = self._took or permit is not None
        return permit

    def give_back(self, permit: int) -> None:
        """Give a permit back: now if another worker waits, else in the loop's next turn."""
        if self._permits is None or not self._permits.keep(permit) or self._will_release:
            return
        self._will_release = True
        # A caller that learns of the job's end in this turn may take it again at once.
        self._loop.call_soon(self._release)

    def _release(self) -> None:
        assert self._permits is not None
        self._will_release = False
        self._permits.release()

    def waits_since(self, since: float) -> None:
        """Note since when the oldest call waits for a permit only; 0.0: none does."""
        if self._permits is None:
            return
        self._permits.waits_since(since)
        if since and self._retry is None:
            self._retry = self._loop.call_later(RETRY, self._retry_impatiently)
        elif not since and self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def note_missed_permit(self) -> None:
        """Note that a job of ours has given up waiting for a permit."""
        if self._permits is not None:
            self._permits.note_missed(monotonic())

    def is_permit_missed(self, before: float, after: float) -> bool:
        """Return what `Permits.is_missed` says; False without permits."""
        return self._permits is not None and self._permits.is_missed(before, after)

    def _retry_impatiently(self) -> None:
        assert self._permits is not None
        self._retry = None
        self._permits.pass_over_silent()
        self._is_patient = False
        self._dispatch()
        self._is_patient = True

    def _on_bell(self) -> None:
        assert self._permits is not None
        self._permits.answer_bell()
        self._took = False
        self._dispatch()
        if self._took:  # another one may be free, for the job that is oldest now
            self._permits.ring_next()

    def close(self) -> None:
        """Stop waiting and listening; permits that are held stay held."""
        self.waits_since(0.0)
        if self._permits is not None:
            self._permits.release()
            self._loop.remove_reader(self._permits.fileno())
