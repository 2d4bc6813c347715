"""The stacks that hybrid is compared with: how each is installed and started.

Node: its cluster module and worker threads by piscina, the stack of the article.
Python: uvicorn's workers and a process pool behind `run_in_executor`, what a
Python user would pick instead. Both live in `benchmarks/peers/` of the source
tree and are installed there on demand, each into an environment of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hybrid.bench.server.served import Server
from hybrid.bench.server.topology import Topology

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "benchmarks" / "peers"
HYBRID = "hybrid"
INSTALL_TIMEOUT = 300.0  # s


@dataclass(frozen=True, slots=True)
class Peer:
    """A stack that can be served with a number of workers and slots."""

    name: str
    title: str
    command: Callable[[int, int], Sequence[str]]
    install: Callable[[], str]  # returns why it cannot be had, or nothing
    env: dict[str, str] = field(default_factory=dict)

    def server(self, workers: int, slots: int) -> Server:
        """Return its server, not yet started."""
        return Server(self.command(workers, slots), env=self.env)


def known_peers() -> tuple[Peer, ...]:
    """Return hybrid and its peers."""
    node, python = PEERS / "node", PEERS / "python"
    return (
        Peer(HYBRID, "hybrid: cluster + pool processes", _hybrid, lambda: ""),
        Peer(
            "node",
            "Node cluster + piscina",
            lambda n, m: ("node", str(node / "server.mjs"), str(n), str(m)),
            _install_node,
        ),
        Peer(
            "uvicorn",
            "uvicorn workers + ProcessPoolExecutor",
            lambda n, m: (str(_python()), str(python / "serve.py"), str(n), str(m)),
            _install_python,
            # Its pool runs the very function that hybrid's does.
            {"PYTHONPATH": str(ROOT)},
        ),
    )


def _hybrid(workers: int, slots: int) -> Sequence[str]:
    return Topology("NxP", "cluster + processes", workers, slots, "process").command()


def _install_node() -> str:
    folder = PEERS / "node"
    if not folder.is_dir():
        return "the peers are part of the source tree, not of the package"
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "node and npm are not installed (Debian, Ubuntu: apt-get install nodejs npm)"
    if (folder / "node_modules" / "piscina").is_dir():
        return ""
    return _run("npm", "ci", "--no-audit", "--no-fund", "--prefix", str(folder))


def _install_python() -> str:
    folder = PEERS / "python"
    if not folder.is_dir():
        return "the peers are part of the source tree, not of the package"
    if _python().exists():
        return ""
    home = folder / ".venv"
    requirements = str(folder / "requirements.txt")
    return _run(sys.executable, "-m", "venv", str(home)) or _run(
        str(home / "bin" / "pip"), "install", "--quiet", "-r", requirements
    )


def _python() -> Path:
    return PEERS / "python" / ".venv" / "bin" / "python"


def _run(*command: str) -> str:
    """Run an installer; return its last line if it did not work."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as ex:
        return f"{command[0]}: {ex}"
    said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
    return f"{' '.join(command[:2])}: {' '.join(said)}" if done.returncode else ""
