"""A system that lacks what only Linux has: the same server, on the plain fallbacks."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hybrid.api.npy import array_from_bytes, array_to_bytes
from tests.cluster.conftest import Server, wait_until

Serve = Callable[..., Server]
NPY = "application/x-npy"
LANES = ("inline", "thread", "process")
HIDDEN = """
import mmap
import os
import select
import signal
import socket

for module, names in (
    (os, ("memfd_create", "eventfd", "eventfd_read", "eventfd_write", "pidfd_open",
          "sched_getaffinity")),
    (signal, ("pidfd_send_signal",)),
    (socket, ("SO_PEERCRED",)),
    (mmap, ("MADV_REMOVE",)),
    (select, ("epoll",)),
):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
"""


@pytest.fixture
def plain(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Return a server whose interpreters do not know Linux's own calls."""
    (tmp_path / "sitecustomize.py").write_text(HIDDEN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return serve("--io-workers", "2", "--cpu-pool", "2")


def test_every_lane_answers_and_large_arrays_arrive(plain: Server) -> None:
    answers = [json.loads(plain.get(f"/cpu/svd?n=30&lane={lane}")[2]) for lane in LANES]
    assert [answer["lane"] for answer in answers] == list(LANES)
    assert [answer["result"] for answer in answers] == [answers[0]["result"]] * len(LANES)
    hills = np.random.default_rng(1).normal(500, 50, (600, 500))
    shades = []
    for lane in LANES:
        status, _, body = plain.request(
            "POST",
            f"/cpu/hillshade?lane={lane}",
            array_to_bytes(hills),
            Content_Type=NPY,
            Accept=NPY,
        )
        assert status == 200
        shades.append(array_from_bytes(body))
    assert [np.array_equal(shade, shades[0]) for shade in shades] == [True] * len(LANES)


def test_whoever_dies_is_replaced_and_a_job_can_be_stopped(plain: Server) -> None:
    assert plain.get("/cpu/sleep?ms=60000&lane=process&deadline=0.3")[0] == 504
    victim = plain.workers()[0]["pid"]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len({w["pid"] for w in plain.workers()} - {victim}) == 2, what="replaced")
    assert plain.get("/cpu/primes?n=1000&lane=process")[0] == 200


def test_a_stop_drains_and_leaves_nobody_behind(plain: Server) -> None:
    waiting = plain.in_background("GET", "/cpu/sleep?ms=700&lane=process")
    wait_until(lambda: any(w["pool"]["busy"] for w in plain.workers()), what="it runs")
    plain.remember()
    plain.signal(signal.SIGTERM)
    assert plain.wait_exit() == 0, plain.log
    assert waiting.join().result is not None
    plain.assert_gone()
