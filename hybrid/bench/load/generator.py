"""The controller's half of the load generator: starts it, hands it plans."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from hybrid.bench.load.plan import LoadPlan
from hybrid.bench.load.records import Records
from hybrid.bench.server.served import leashed
from hybrid.errors import HybridError

_COMMAND = (sys.executable, "-m", "hybrid.bench.load.load_process")


class LoadFailed(HybridError):
    """The load generator could not run the plan."""


@dataclass(frozen=True, slots=True)
class LoadResult:
    """One finished run: its summary, and every request's row."""

    plan: LoadPlan
    summary: dict[str, Any]
    records: Records

    def stream(self, name: str) -> Records:
        """Return the rows of a stream after the warm-up."""
        index = [stream.name for stream in self.plan.streams].index(name)
        return self.records.after(self.plan.warmup).stream(index)


class LoadGenerator:
    """A load generator process, kept for many runs; a context manager."""

    def __enter__(self) -> LoadGenerator:
        self._folder = tempfile.TemporaryDirectory(prefix="hybrid-bench-")
        self._process = subprocess.Popen(
            leashed(_COMMAND),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,  # Ctrl-C is the controller's to handle
        )
        self._plan: LoadPlan | None = None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()  # it holds nothing but our own temporary files
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._folder.cleanup()

    def run(self, plan: LoadPlan) -> LoadResult:
        """Offer `plan` and wait for its result."""
        self.start(plan)
        return self.finish()

    def interrupt(self) -> LoadResult:
        """End the run that was started, and return what it has measured."""
        self._process.send_signal(signal.SIGINT)
        return self.finish()

    def start(self, plan: LoadPlan) -> float:
        """Begin to offer `plan`; returns the monotonic time of the request to do so."""
        assert self._process.stdin is not None
        self._plan = replace(plan, out=str(Path(self._folder.name) / "columns.npz"))
        started = time.monotonic()
        self._process.stdin.write(self._plan.to_json() + "\n")
        return started

    def finish(self) -> LoadResult:
        """Wait for the result of the plan that was started.

        Raises:
            LoadFailed: the plan was impossible, or the generator died.
        """
        assert self._process.stdout is not None
        assert self._plan is not None
        line = self._process.stdout.readline()
        if not line:
            raise LoadFailed(f"the load generator exited with {self._process.wait(5)}")
        summary = json.loads(line)
        if "error" in summary:
            raise LoadFailed(summary["error"])
        return LoadResult(self._plan, summary, Records.load(Path(self._plan.out)))
