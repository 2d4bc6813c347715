"""What must have happened in this process before its first job runs in it."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Preparation:
    """Calls a function once, whichever thread comes first; the others wait for it.

    One that raises is called again for the next job: every job says why it cannot run.
    """

    def __init__(self, prepare: Callable[[], None]) -> None:
        self._prepare = prepare
        self._lock = threading.Lock()
        self._is_done = False

    def __call__(self) -> None:
        """Make sure that it has been called.

        Raises:
            Exception: whatever the function raises.
        """
        if self._is_done:
            return
        with self._lock:
            if not self._is_done:
                self._prepare()
                self._is_done = True
