"""The README's first steps, as printed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from hybrid.api.npy import array_to_bytes
from tests.cluster.conftest import Server
from tests.programs import need

Serve = Callable[..., Server]
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(?:sh|python)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def block(beginning: str) -> str:
    (found,) = [text for text in BLOCKS if text.startswith(beginning)]
    return found


def test_the_first_curl_gets_a_picture_of_a_real_elevation_model(
    serve: Serve, tmp_path: Path
) -> None:
    server = serve("--io-workers", "2", "--cpu-pool", "1")
    need("curl")
    commands = block(".venv/bin/python -m workloads.samples")
    commands = commands.replace(".venv/bin/python", sys.executable)
    commands = commands.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")

    done = subprocess.run(
        ["sh", "-ec", commands],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert "Hello from worker" in done.stdout
    with Image.open(tmp_path / "hill.png") as picture:
        assert (picture.format, picture.size) == ("PNG", (403, 344))


def test_the_application_of_the_readme_computes(serve: Serve, tmp_path: Path) -> None:
    for name in ("jobs.py", "app.py"):
        (tmp_path / name).write_text(block(f"# {name}"))
    server = serve("app:app", "--io-workers", "1", "--cpu-pool", "2", cwd=tmp_path)
    signal = np.sin(2 * np.pi * 5 * np.arange(100) / 100)
    status, headers, body = server.request(
        "POST", "/spectrum", array_to_bytes(signal), Content_Type="application/x-npy"
    )
    assert status == 200, body
    assert np.argmax(json.loads(body)) == 5
    assert "run;dur=" in headers["server-timing"]
