"""The servers that are compared, and the environments they live in.

Peers are installed on demand, once per Python version, under ``.bench/`` and
never into the project's own environment. hybrid runs from the same
environment, so that all of them share one Falcon, one uvloop, one llhttp.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
_PEERS = (
    *("uvicorn", "uvloop", "httptools", "granian", "hypercorn", "gunicorn", "fastpysgi"),
    "waitress",
)
_APP = "benchmarks.http.app:app"
_WSGI_APP = "benchmarks.http.wsgi_app:app"
_THREADS = "8"  # of every WSGI server
_ABLATED = ("-m", "benchmarks.http.ablation")


@dataclass(frozen=True)
class Peer:
    """One server; ``{port}`` in the command is where it shall listen."""

    name: str
    command: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)


def environment(python: str) -> Path:
    """Return the interpreter of the peers' environment for `python`; make it if needed."""
    version = subprocess.run(
        [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout.strip()
    folder = ROOT / ".bench" / version
    interpreter = folder / "bin" / "python"
    stamp = folder / ".installed"
    wanted = " ".join(_PEERS)
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"installing the peers for Python {version} into {folder} …", file=sys.stderr)
        # Our own pip installs: an interpreter of a distribution may come without one.
        make = [python, "-m", "venv", "--clear", "--without-pip", str(folder)]
        subprocess.run(make, check=True, timeout=300)
        pip = [sys.executable, "-m", "pip", "--python", str(interpreter), "install", "--quiet"]
        what = ["-c", str(ROOT / "requirements.lock"), "-e", str(ROOT), *_PEERS]
        subprocess.run([*pip, "--disable-pip-version-check", *what], check=True, timeout=900)
        stamp.write_text(wanted)
    return interpreter


def versions(python: Path) -> dict[str, str]:
    """Return the versions of what an environment holds."""
    code = "import importlib.metadata as m, sys; print(*[m.version(n) for n in sys.argv[1:]])"
    names = [*_PEERS, "falcon", "orjson"]
    found = subprocess.run(
        [str(python), "-c", code, *names], capture_output=True, text=True, check=True, timeout=30
    )
    return dict(zip(names, found.stdout.split(), strict=True))


def hybrid(python: Path, *flags: str, name: str = "hybrid", app: str = _APP) -> Peer:
    """Return hybrid, one worker, every default on but the access log."""
    command = (str(python), "-m", "hybrid", "serve", app, "--io-workers", "1")
    return Peer(name, (*command, "--bind", "127.0.0.1:{port}", "--no-access-log", *flags))


def python_peers(python: Path) -> list[Peer]:
    """Return the other Python servers, one worker each, their access logs off as by default."""
    py = str(python)
    host, port = "127.0.0.1", "{port}"
    return [
        Peer("uvicorn", (py, "-m", "uvicorn", _APP, "--port", port, "--no-access-log")),
        Peer(
            "granian",
            (py, "-m", "granian", "--interface", "asgi", "--port", port, "--loop", "uvloop", _APP),
        ),
        Peer(
            "hypercorn",
            (py, "-m", "hypercorn", "-b", f"{host}:{port}", "-k", "uvloop", _APP),
        ),
        Peer(
            "gunicorn asgi",
            (py, "-m", "gunicorn", "-k", "asgi", "-w", "1", "-b", f"{host}:{port}", _APP),
        ),
        Peer("fastpysgi", (py, "-m", "benchmarks.http.fast", port)),
    ]


def wsgi_peers(python: Path) -> list[Peer]:
    """Return hybrid and the WSGI servers, one worker of as many threads each."""
    py = str(python)
    bind = ("-b", "127.0.0.1:{port}")
    granian = ("--interface", "wsgi", "--port", "{port}", "--blocking-threads", _THREADS)
    address = ("--host", "127.0.0.1", "--port", "{port}")
    return [
        hybrid(python, "--wsgi-threads", _THREADS, app=_WSGI_APP),
        Peer(
            "gunicorn gthread",
            (py, "-m", "gunicorn", "-k", "gthread", "--threads", _THREADS, *bind, _WSGI_APP),
        ),
        Peer("granian wsgi", (py, "-m", "granian", *granian, _WSGI_APP)),
        Peer("fastpysgi wsgi", (py, "-m", "benchmarks.http.fast", "{port}", "wsgi")),
        Peer("waitress", (py, "-m", "waitress", *address, "--threads", _THREADS, _WSGI_APP)),
    ]


def node() -> Peer:
    """Return the article's program: Node http in cluster, one worker."""
    return Peer("Node cluster", ("node", str(Path(__file__).with_name("server.mjs")), "{port}"))


def ablated(python: Path, *features: str, name: str = "") -> Peer:
    """Return hybrid's server in one process without the named features."""
    named = name or ("without " + ", ".join(features) if features else "hybrid, one process")
    return Peer(named, (str(python), *_ABLATED, "{port}", *features))


def bare(python: Path) -> Peer:
    """Return the bare protocol: httptools, uvloop, Falcon, and nothing a server needs."""
    return Peer("bare protocol", (str(python), "-m", "benchmarks.http.bare", "{port}"))


def pinned(python: Path, module: str) -> list[str]:
    """Return the command that runs a module of this folder on one CPU."""
    return ["taskset", "-c", "0", str(python), "-m", module]


def start(peer: Peer, port: int, cpu: int) -> subprocess.Popen[bytes]:
    """Start a server, pinned to one CPU, in a process group of its own."""
    command = [part.replace("{port}", str(port)) for part in peer.command]
    env = {**os.environ, **peer.env, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        ["taskset", "-c", str(cpu), *command],
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
