"""``--reload``: a changed file becomes a reload."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.conftest import Server, wait_until
from tests.cluster.test_control import write_app

Serve = Callable[..., Server]
pytest.importorskip("watchfiles")


def test_a_changed_file_brings_new_code_and_a_broken_one_changes_nothing(
    serve: Serve, tmp_path: Path
) -> None:
    write_app(tmp_path, "one")
    server = serve("versioned:app", "--reload", "-w", "1", "--cpu-pool", "0", cwd=tmp_path)
    server.wait_for_log("watching")

    def after_writing(version: str) -> None:
        # The watcher says that it starts, not that it has started: write until it has seen it.
        wait_until(
            lambda: write_app(tmp_path, version) or server.get("/")[2] == version.encode(),
            what=f"version {version} serves",
        )

    after_writing("two-")
    (tmp_path / "versioned.py").write_text("import math\nmath.nothing()\n")
    server.wait_for_log("aborted")
    assert server.get("/")[2] == b"two-"
    after_writing("three")
    assert "changed: versioned.py" in server.log
