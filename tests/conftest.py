"""What every folder of tests may use."""

from __future__ import annotations

import faulthandler

import pytest


@pytest.fixture
def may_fork() -> None:
    """End pytest's own thread (``faulthandler_timeout``), for a test that forks this process.

    From Python 3.15 on that thread counts: a fork beside it warns, and warnings are errors.
    """
    faulthandler.cancel_dump_traceback_later()
