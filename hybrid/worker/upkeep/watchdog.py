"""Which code blocks the event loop: one log line with file and line, while it happens.

     event loop                     |  this thread
                                    |
     pulse: "next tick at t" -------+-> sleeps until t + limit
     (blocked by some code)         |   t is still the same: the loop is late;
                                    |   reads where its thread stands, logs it

Rule 1: nothing is killed or interrupted; the thread wakes once per tick of the loop.
Rule 2: it never guesses. A C function that holds the GIL stops this thread as
        well; the thread then runs at the function's return, and the line says so.
        If the process had no CPU (stopped, starved), the line says that instead
        of naming whatever code happens to run now: it would be innocent.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

logger = logging.getLogger("hybrid.error")

_REPEAT_AFTER = 10.0  # s before the same line of code is named again
_SHORTEST = 0.005  # s between two checks
_STARVED = 0.2  # of the time on a CPU; less, and the process did not run at all
_MACHINERY = ("asyncio/", "selectors.py", "uvloop", "hybrid/worker/worker.py")
_WAITING = (  # where the innermost frame is when a thread waits; a job's own is elsewhere
    "threading.py",
    "queue.py",
    "concurrent/futures/thread.py",
    "hybrid/worker/upkeep/watchdog.py",
    "hybrid/pool/thread/thread_lane.py",
)
_LIBRARIES = ("site-packages", "/lib/python")


@dataclass(frozen=True, slots=True)
class Lateness:
    """Measurements of one late tick; seconds."""

    late: float  # since the tick was meant
    overslept: float  # by which the watchdog itself woke later than it meant to
    ran: float  # CPU time of the process while the watchdog slept
    queued: float  # for which the loop's thread had work but no CPU


class Watchdog:
    """The thread. It watches the thread that creates it, which is the event loop's."""

    def __init__(self, slot: int, limit: float, due: Callable[[], float]) -> None:
        """Watch for a tick that is `limit` seconds late.

        Args:
            slot: of this worker, for the line.
            limit: seconds; 0: watch nothing.
            due: returns when the next tick is meant, monotonic seconds; 0.0: not yet.
        """
        self._slot, self._limit, self._due = slot, limit, due
        self._watched = threading.get_ident()
        self._named: dict[str, float] = {}  # place -> when it was named last
        self._is_over = False
        self._news = threading.Event()  # the end, or a tick that is meant earlier than before
        self._schedstat = _open_schedstat()
        self._thread = threading.Thread(target=self._run, name="hybrid-watchdog", daemon=True)

    def start(self) -> None:
        """Start the thread, unless there is no limit."""
        if self._limit:
            self._thread.start()

    def stop(self) -> None:
        """End the thread; does not wait for it."""
        self._is_over = True
        self._news.set()

    def note_earlier_tick(self) -> None:
        """Note that the next tick is meant earlier than it was; some µs."""
        self._news.set()

    def _run(self) -> None:
        logged = 0.0  # the tick that was logged as late
        pause = self._limit
        while True:
            before = time.monotonic(), time.process_time(), self._queued()
            is_news = self._news.wait(pause)
            if self._is_over:
                return
            if is_news:
                self._news.clear()
                pause = max(_SHORTEST, self._due() + self._limit - time.monotonic())
                continue
            now, due = time.monotonic(), self._due()
            if due and now - due >= self._limit and due != logged:
                logged = due
                self._log(
                    now - due,
                    self._find_blocker(
                        Lateness(
                            late=now - due,
                            overslept=now - before[0] - pause,
                            ran=time.process_time() - before[1],
                            queued=self._queued() - before[2],
                        )
                    ),
                )
            pause = self._limit if due == logged else max(_SHORTEST, due + self._limit - now)

    def _log(self, late: float, place: str) -> None:
        now = time.monotonic()
        if now - self._named.get(place, -_REPEAT_AFTER) < _REPEAT_AFTER:
            return
        self._named = {p: at for p, at in self._named.items() if now - at < _REPEAT_AFTER}
        self._named[place] = now
        text = "worker slot=%d: the event loop is blocked, its tick is %.2f s late: %s"
        logger.warning(text, self._slot, late, place)

    def _find_blocker(self, lateness: Lateness) -> str:
        frames = sys._current_frames()  # none of the threads runs while this one holds the GIL
        frames.pop(threading.get_ident(), None)
        loop = frames.pop(self._watched, None)
        return find_blocker(lateness, self._limit, loop, frames.values())

    def _queued(self) -> float:
        """Return the seconds for which the loop's thread has been runnable without a CPU."""
        if self._schedstat < 0:
            return 0.0
        return int(os.pread(self._schedstat, 100, 0).split()[1]) * 1e-9


def _open_schedstat() -> int:
    """Open the scheduler's figures of this thread; -1 where there are none (not Linux)."""
    try:
        path = f"/proc/self/task/{threading.get_native_id()}/schedstat"
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def find_blocker(
    lateness: Lateness, limit: float, loop: FrameType | None, others: Iterable[FrameType]
) -> str:
    """Return what blocks the loop, in words.

    Args:
        lateness: what was measured.
        limit: seconds that a tick may be late.
        loop: where the event loop's thread stands; None: it has ended.
        others: where the other threads stand, without the watchdog's own.
    """
    if lateness.queued >= lateness.late / 2:
        return f"no CPU was free for it ({lateness.queued:.2f} s)"
    held = lateness.overslept >= limit / 2
    if held and lateness.ran < _STARVED * lateness.overslept:
        return "the whole process was stopped"
    when = ", seen at its end because it held the GIL" if held else ""
    if loop is not None and not _is(loop, _MACHINERY):
        return where(loop) + when
    places = [where(frame) for frame in others if not _is(frame, _WAITING)]
    if places:
        return f"another thread holds the GIL: {'; '.join(places)}{when}"
    return "what blocked it has just returned"


def where(frame: FrameType) -> str:
    """Return the line of the innermost frame outside libraries, and the innermost one.

    ``shop/views.py:12 in on_get`` or, when that has called a library,
    ``shop/views.py:12 in on_get (now in numpy/linalg/_linalg.py:1681 svd)``.
    """
    innermost, at = _place(frame), frame
    while at.f_back is not None and _is(at, _LIBRARIES):
        at = at.f_back
    if _is(at, (*_LIBRARIES, *_MACHINERY)):
        return innermost
    place = _place(at)
    return place if at is frame else f"{place} (now in {innermost})"


def _place(frame: FrameType) -> str:
    path = Path(frame.f_code.co_filename)
    short = "/".join(path.parts[-3:]) if len(path.parts) > 3 else str(path)
    return f"{short}:{frame.f_lineno} in {frame.f_code.co_name}"


def _is(frame: FrameType, parts: tuple[str, ...]) -> bool:
    return any(part in frame.f_code.co_filename for part in parts)
