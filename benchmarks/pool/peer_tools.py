"""Peers that hybrid does not depend on: fetched on demand, outside the source tree.

loky goes into a folder of its own (``pip install --target``), piscina too
(``npm install --prefix``). What cannot be fetched is left out, and said so.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

_PATIENCE = 180  # s for a download
_NODE_HALF = Path(__file__).with_name("piscina_peer.mjs")


def cache() -> Path:
    """Return the folder for peers, made if needed."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = base / "hybrid-bench"
    path.mkdir(parents=True, exist_ok=True)
    return path


def find_loky() -> bool:
    """Make ``import loky`` work here and in its processes; return whether it does."""
    folder = cache() / "python"
    if not (folder / "loky").exists() and not _fetch_loky(folder):
        return False
    sys.path.append(str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [os.environ.get("PYTHONPATH", ""), str(Path.cwd()), str(folder)])
    )
    return importlib.util.find_spec("loky") is not None


def _fetch_loky(folder: Path) -> bool:
    pip = [sys.executable, "-m", "pip", "install"]
    if importlib.util.find_spec("pip") is None:
        uv = shutil.which("uv")
        if uv is None:
            return False
        pip = [uv, "pip", "install"]
    return _run([*pip, "--quiet", "--target", str(folder), "loky>=3.4,<4"])


def _run(command: list[str]) -> bool:
    try:
        done = subprocess.run(command, timeout=_PATIENCE, check=False, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


class Piscina:
    """Node's pool, in a process that measures itself on request."""

    def __init__(self, slots: int) -> None:
        """Start it.

        Raises:
            OSError: there is no node, or piscina cannot be fetched.
        """
        node, npm = shutil.which("node"), shutil.which("npm")
        folder = cache() / "node"
        package = folder / "node_modules" / "piscina"
        if node is None or npm is None:
            raise OSError("no node here")
        if not package.exists() and not _run(
            [npm, "install", "--silent", "--no-save", "--prefix", str(folder), "piscina@5"]
        ):
            raise OSError("npm could not fetch piscina")
        self._process = subprocess.Popen(
            [node, str(_NODE_HALF), str(package), str(slots)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.versions: dict[str, Any] = self._answer()

    def sample(self, case: str, **how: int) -> float:
        """Return seconds per job."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"case": case, **how}) + "\n")
        return float(self._answer()["seconds"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise OSError("node has ended")
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
