"""Real servers for the tests: on free ports of the loopback, with their data in a folder."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.programs import need

PATIENCE = 60.0  # s that a server may take to start, on a busy machine


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class RealServer(ABC):
    """A server of another project. Started again it has the same address."""

    polite = signal.SIGTERM  # what it ends at without waiting for its clients

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str: ...

    @abstractmethod
    def command(self) -> list[str]: ...

    def user(self) -> str | None:
        """Return the user to run as, where the program insists on one that is not root."""
        return None

    def start(self) -> RealServer:
        command = self.command()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                user=self.user(),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        end = time.monotonic() + PATIENCE
        while not self.answers():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < end, (self.folder / "log").read_text()
            time.sleep(0.02)
        return self

    def answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it as an operator would; connections are closed."""
        assert self._process is not None
        self._process.send_signal(self.polite)
        self._process.wait(PATIENCE)
        self._process = None

    def kill(self) -> None:
        """Kill every process of it, if it runs."""
        if self._process is not None and self._process.poll() is None:
            for process in self._signal(signal.SIGKILL):
                process.wait(PATIENCE)
            self._process.wait(PATIENCE)
        self._process = None

    def _signal(self, number: signal.Signals) -> list[psutil.Process]:
        """Signal the whole tree; its processes may have sessions of their own."""
        assert self._process is not None
        first = psutil.Process(self._process.pid)
        tree = [first, *first.children(recursive=True)]
        for process in tree:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        return tree[1:]


class RedisServer(RealServer):
    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def socket_url(self) -> str:
        return f"unix://{self.folder}/redis.sock"

    def command(self) -> list[str]:
        words = f"--port {self.port} --bind 127.0.0.1 --save '' --appendonly yes --appendfsync no"
        program = need("redis-server")
        more = ["--unixsocket", str(self.folder / "redis.sock")]
        return [program, *words.replace("''", "").split(), *more]


class MemcachedServer(RealServer):
    @property
    def url(self) -> str:
        return f"memcached://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        words = ["-l", "127.0.0.1", "-p", str(self.port), "-m", "64"]
        return [need("memcached"), *(["-u", "nobody"] if os.geteuid() == 0 else []), *words]


class PostgresqlServer(RealServer):
    polite = signal.SIGINT

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def user(self) -> str | None:
        return "postgres" if os.geteuid() == 0 else None

    def command(self) -> list[str]:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        folder = programs[-1] if programs else Path(need("initdb", "postgresql")).parent
        if not self._data.exists():
            if os.geteuid() == 0:
                shutil.chown(self.folder, "postgres")
            words = ["-D", str(self._data), "-A", "trust", "-U", "postgres", "--no-sync"]
            subprocess.run(
                [folder / "initdb", *words],
                check=True, user=self.user(), cwd=self.folder, capture_output=True,
            )  # fmt: skip
        (self._data / "postmaster.pid").unlink(missing_ok=True)  # of one that was killed
        options = {
            "port": self.port, "listen_addresses": "127.0.0.1", "fsync": "off",
            "unix_socket_directories": self.folder,
        }  # fmt: skip
        settings = [f"--{name}={value}" for name, value in options.items()]
        return [str(folder / "postgres"), "-D", str(self._data), *settings]

    def answers(self) -> bool:
        if not super().answers():
            return False
        import psycopg

        try:  # while it starts or recovers it accepts connections and refuses them
            psycopg.connect(self.url).close()
        except psycopg.OperationalError:
            return False
        return True


class MongodbServer(RealServer):
    """A program that speaks MongoDB's protocol; it is not MongoDB, which no registry carries."""

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true"

    def command(self) -> list[str]:
        program = Path(sys.executable).with_name("nx-27017")
        if not program.exists():
            if os.environ.get("CI") and sys.version_info < (3, 15):
                pytest.fail("nx-27017 is not installed: pip install nx-27017", pytrace=False)
            pytest.skip("nx-27017 is not installed: pip install nx-27017")
        words = ["--db", "memory", "--host", "127.0.0.1"]
        pid = ["--pid-file", str(self.folder / "pid")]
        return [str(program), *words, "--port", str(self.port), *pid]


SERVERS: dict[str, type[RealServer]] = {
    "redis": RedisServer,
    "memcached": MemcachedServer,
    "postgresql": PostgresqlServer,
    "mongodb": MongodbServer,
}
