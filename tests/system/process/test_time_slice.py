"""Pool threads ask for long time slices, and nobody else is changed by it."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import threading

import pytest

from hybrid.system.process.time_slice import LONG, ask_for_long_slices

SCHED_GETATTR = {"x86_64": 315, "aarch64": 275}
KERNEL = tuple(int(part) for part in platform.release().split(".")[:2])


def slice_of_this_thread():
    buffer = ctypes.create_string_buffer(48)
    ctypes.CDLL(None).syscall(SCHED_GETATTR[platform.machine()], 0, buffer, 48, 0)
    return struct.unpack("IIQiIQQQ", buffer.raw)[5]


@pytest.mark.skipif(
    platform.machine() not in SCHED_GETATTR or KERNEL < (6, 12), reason="needs Linux 6.12"
)
def test_a_thread_gets_a_long_slice_and_keeps_its_priority() -> None:
    before, priority, seen = slice_of_this_thread(), os.getpriority(os.PRIO_PROCESS, 0), []

    def work():
        taken = ask_for_long_slices()
        seen.append((taken, slice_of_this_thread(), os.getpriority(os.PRIO_PROCESS, 0)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert seen == [(True, LONG, priority)]
    assert slice_of_this_thread() == before


def test_asking_is_harmless_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "unknown")
    assert ask_for_long_slices() is False
