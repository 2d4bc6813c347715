"""The server's state for systemd: sd_notify(3), a datagram to its socket.

With ``Type=notify-reload`` a ``systemctl reload`` waits until the new
generation is ready; with ``WatchdogSec=`` systemd restarts a primary whose loop
stands still. Without systemd this module does nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping

from hybrid.core.workers.phase import Phase
from hybrid.core.workers.supervision import Supervisor

_LINES = {
    Phase.STARTING: "",
    Phase.READY: "READY=1",
    Phase.RELOADING: "RELOADING=1\nMONOTONIC_USEC={usec}",
    Phase.STOPPING: "STOPPING=1",
}


class Notifier:
    """Sends what has changed to systemd; never waits, never fails."""

    def __init__(self, address: str, watchdog: float = 0.0) -> None:
        """Send to `address` (empty: nowhere), a sign of life every `watchdog` seconds."""
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._every = watchdog
        self._next_sign = 0.0
        self._phase = Phase.STARTING
        self._text = ""
        self.sock: socket.socket | None = None
        if address:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.sock.setblocking(False)

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> Notifier:
        """Read systemd's variables and remove them: a worker's children must not use them."""
        address = environ.pop("NOTIFY_SOCKET", "")
        usec, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        mine = usec.isdecimal() and pid in ("", str(os.getpid()))
        # Half the limit, as sd_watchdog_enabled(3) advises.
        return cls(address, int(usec) / 2e6 if mine else 0.0)

    def send_changes(self, supervisor: Supervisor, now: float) -> None:
        """Send what has changed since the last call, and the sign of life when due."""
        if self.sock is None:
            return
        lines = []
        current, text = supervisor.phase, supervisor.describe()
        if current is not self._phase:
            self._phase = current
            # The time of *this* message on systemd's own clock, CLOCK_MONOTONIC.
            usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            lines.append(_LINES[current].format(usec=usec))
        if text != self._text:
            self._text = text
            lines.append(f"STATUS={text}")
        if self._every and now >= self._next_sign:
            self._next_sign = now + self._every
            lines.append("WATCHDOG=1")
        if lines:
            with contextlib.suppress(OSError):
                self.sock.sendto("\n".join(lines).encode(), self._address)

    def next_timer(self) -> float | None:
        """Return the monotonic time of the next sign of life, None without a watchdog."""
        return self._next_sign if self.sock is not None and self._every else None

    def close(self) -> None:
        """Send nothing more."""
        if self.sock is not None:
            self.sock.close()
