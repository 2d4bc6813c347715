"""The load of `benchmarks.pool.fairness`: jobs at given times, on workers of choice.

A connection belongs to the worker that accepted it, and a client cannot ask for a
worker. So many connections are opened, each learns its worker from its first
answer, and an arrival then takes an idle one of the worker it is meant for.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

ANYWHERE = -1  # any worker will do
_TIMING = re.compile(rb"queue;dur=([\d.]+), run;dur=([\d.]+)")


@dataclass(eq=False, slots=True)
class Connection:
    """One keep-alive connection and the worker at its other end."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    worker: int = 0  # 0: not known yet

    async def get(self, path: str) -> tuple[int, bytes]:
        """Return status and head of the answer; the connection can be used again.

        Raises:
            OSError, asyncio.IncompleteReadError: it broke.
        """
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: fairness\r\n\r\n".encode())
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None, head
        await self.reader.readexactly(int(length[1]))
        found = re.search(rb"x-worker: (\d+)", head)
        self.worker = int(found[1]) if found else 0
        if b"\r\nconnection: close" in head:
            self.writer.close()
        return int(head[9:12]), head


@dataclass(slots=True)
class Job:
    """What became of one arrival; times are seconds from the start of the run."""

    at: float
    wanted: int  # worker, or ANYWHERE
    worker: int = 0  # that had it
    done: float = math.nan  # NaN: no answer
    queue: float = math.nan  # s in line, as the server says
    run: float = math.nan  # s
    status: int = 0  # 0: no answer
    retried: bool = False  # its reused connection was closed before the first byte
    error: str = ""

    @property
    def wait(self) -> float:
        """Seconds that were neither the job's own 50 ms nor any part of it; HTTP included."""
        return self.done - self.at - self.run


@dataclass
class Load:
    """Sends one plan of arrivals."""

    host: str
    port: int
    path: str
    jobs: list[Job] = field(default_factory=list)
    idle: dict[int, list[Connection]] = field(default_factory=dict)
    in_flight: set[tuple[int, int]] = field(default_factory=set)  # (job's index, worker)

    async def connect(self) -> Connection:
        """Open a connection."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        return Connection(reader, writer)

    async def open_until(self, workers: Sequence[int], each: int) -> None:
        """Open connections until every one of `workers` has `each`."""
        for _ in range(400 * each):
            if all(len(self.idle.get(worker, ())) >= each for worker in workers):
                return
            batch = [await self.connect() for _ in range(8)]
            await asyncio.gather(*(each_one.get("/hello") for each_one in batch))
            for connection in batch:
                self._keep(connection)
        raise RuntimeError(f"connections never reached all of {workers}")

    async def run(self, times: Sequence[float], wanted: Sequence[int], start: float) -> None:
        """Start a job at every one of `times` (seconds after monotonic `start`)."""
        self.jobs = [Job(at, worker) for at, worker in zip(times, wanted, strict=True)]
        running = []
        for index, job in enumerate(self.jobs):
            await asyncio.sleep(max(0.0, start + job.at - time.monotonic()))
            running.append(asyncio.create_task(self._one(index, job, start)))
        await asyncio.wait(running, timeout=30.0)

    async def _one(self, index: int, job: Job, start: float) -> None:
        connection = self._take(job.wanted)
        try:
            try:
                connection = await self._ask(index, job, connection)
            except (OSError, asyncio.IncompleteReadError) as ex:
                # An idle connection may be closed by the server at any time.
                if connection is None or getattr(ex, "partial", b""):
                    raise
                job.retried = True
                connection = await self._ask(index, job, None)
        except (OSError, asyncio.IncompleteReadError) as ex:
            job.error = type(ex).__name__
            return
        job.done = time.monotonic() - start
        self._keep(connection)

    async def _ask(self, index: int, job: Job, connection: Connection | None) -> Connection:
        """Send the job, on a fresh connection if there is none; return what carried it."""
        # A connection that is being made counts: a worker that dies may have accepted it.
        mark = (index, connection.worker if connection is not None else 0)
        self.in_flight.add(mark)
        try:
            connection = connection or await self.connect()
            job.status, head = await connection.get(self.path)
        finally:
            self.in_flight.discard(mark)
            job.worker = connection.worker if connection is not None else 0
        timing = _TIMING.search(head)
        if timing is not None:
            job.queue, job.run = float(timing[1]) / 1e3, float(timing[2]) / 1e3
        return connection

    def _take(self, worker: int) -> Connection | None:
        known = [worker] if worker != ANYWHERE else [w for w, kept in self.idle.items() if kept]
        random.shuffle(known)
        for each in known:
            while self.idle.get(each):
                connection = self.idle[each].pop()
                if not connection.writer.is_closing() and not connection.reader.at_eof():
                    return connection
        return None

    def _keep(self, connection: Connection) -> None:
        if not connection.writer.is_closing():
            self.idle.setdefault(connection.worker, []).append(connection)

    async def close(self) -> None:
        """Close every idle connection."""
        for kept in self.idle.values():
            for connection in kept:
                connection.writer.close()
                with contextlib.suppress(OSError):
                    await connection.writer.wait_closed()
