"""The pool inside a real server: part of ``make bench-pool``.

start       from the wish for a pool process to its READY, and its private memory
saturation  which share of the CPU budget reaches the jobs
latency     what a busy pool adds to I/O, by lane, also while two other programs compute
resident    what 40 processes pay for one array of 200 MB
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hybrid.bench.load.generator import LoadGenerator
from hybrid.bench.load.plan import LoadPlan, Stream
from hybrid.bench.server.fingerprint import fingerprint, one_line
from hybrid.bench.server.procfs import busy_seconds, session_members
from hybrid.bench.server.served import Server, leashed
from hybrid.system.process.time_slice import ask_to_be_prompt

RESULTS = Path(__file__).parents[1] / "results" / "pool_server.json"
_READY = re.compile(r"pool process ready pid=(\d+) after=([\d.]+) imports=([\d.]+)")
Row = dict[str, Any]


def serve(*flags: str) -> Server:
    """Return a server of the demonstration application, to be entered.

    Modules are compiled once, as anywhere: where this is switched off, every new
    pool process would compile the job's modules again, and `start` measure that.
    """
    command = [sys.executable, "-m", "hybrid", "serve", *flags, "--no-access-log"]
    compiled = {"PYTHONDONTWRITEBYTECODE": ""}
    return Server([*command, "--bind", "127.0.0.1:0"], env=compiled, boot_timeout=60.0)


def show(title: str, rows: list[Row]) -> None:
    """Print rows as a table."""
    print(f"\n{title}")
    for row in rows:
        print("  " + "  ".join(f"{key} {value}" for key, value in row.items()), flush=True)


def budget() -> int:
    """Return the CPUs this process may use."""
    return len(os.sched_getaffinity(0))


# -- start -------------------------------------------------------------------------


def start(times: int) -> list[Row]:
    """Kill an idle pool process again and again; its replacement's log line tells."""
    with serve("--io-workers", "1", "--cpu-pool", "2", "--log-level", "debug") as server:
        for count in range(times):
            lines = _READY.findall(server.log(1000))
            os.kill(int(lines[-1][0]), signal.SIGKILL)
            end = time.monotonic() + 10.0
            while len(_READY.findall(server.log(1000))) == len(lines):
                if time.monotonic() > end:
                    raise TimeoutError(f"no replacement after {count} kills")
                time.sleep(0.01)
        found = _READY.findall(server.log(1000))[2:]
        alive = [int(pid) for pid, _, _ in found if Path(f"/proc/{pid}").exists()]
        private = [_private(pid) / 1e6 for pid in alive]
    after = [1e3 * float(each) for _, each, _ in found]
    return [
        {
            "starts": len(after),
            "ready_ms": round(statistics.median(after), 2),
            "p90_ms": round(statistics.quantiles(after, n=10)[8], 2),
            "imports_ms": round(1e3 * statistics.median(float(each[2]) for each in found), 2),
            "private_mb": round(statistics.median(private), 2),
            "goal": "≤ 15 ms, ≤ 6 MB",
        }
    ]


def _private(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return 1024 * sum(int(kb) for kb in re.findall(r"Private_\w+: +(\d+)", text))


# -- saturation --------------------------------------------------------------------


def saturation(seconds: float) -> list[Row]:
    """Offer more jobs than fit; return where the CPU time went, as shares of the budget.

    ``jobs`` are the jobs' own threads and processes, ``server`` everything else of the
    server, ``others`` the rest of the machine: the load generator and all other programs.
    ``share`` is what jobs got of the budget that the others left.
    """
    rows = []
    for lane in ("process", "thread"):
        flags = ("--io-workers", "2", "--cpu-pool", "4", "--cpu-lane", lane)
        with serve(*flags) as server, LoadGenerator() as load:
            plan = _busy(server, "/cpu/svd?n=400", seconds + 2.0, 8)
            load.start(plan)
            time.sleep(1.0)
            first, began = np.array(_cpu(server, lane)), time.monotonic()
            time.sleep(seconds)
            whole = (time.monotonic() - began) * budget()
            jobs, own, busy = (np.array(_cpu(server, lane)) - first) / whole
            rate = load.finish().summary["all"]["ok_per_s"]
        others = busy - jobs - own
        rows.append(
            {
                "lane": lane,
                "share": round(jobs / (1.0 - others), 4),
                "jobs": round(jobs, 4),
                "server": round(own, 4),
                "others": round(others, 4),
                "nobody": round(1.0 - busy, 4),
                "jobs_per_s": round(rate, 1),
                "goal": "≥ 0.95",
            }
        )
    return rows


def _cpu(server: Server, lane: str) -> tuple[float, float, float]:
    """Return CPU seconds: of the jobs, of the rest of the server, of all programs."""
    status = _status(server)
    workers, primary = {w["pid"] for w in status["workers"]}, status["primary"]["pid"]
    jobs = own = 0.0
    for pid in session_members(server.pid):
        for task in map(int, os.listdir(f"/proc/{pid}/task")):
            is_loop = task == pid or lane == "process"
            is_job = not is_loop if pid in workers else pid != primary and lane == "process"
            if is_job:
                jobs += _task_cpu(pid, task)
            else:
                own += _task_cpu(pid, task)
    return jobs, own, busy_seconds()


def _task_cpu(pid: int, task: int) -> float:
    return int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0]) / 1e9


def _status(server: Server) -> dict[str, Any]:
    url = f"http://{server.host}:{server.port}/status"
    found: dict[str, Any] = json.loads(urllib.request.urlopen(url, timeout=30).read())
    return found


def _busy(server: Server, path: str, seconds: float, clients: int) -> LoadPlan:
    stream = Stream("jobs", path, rate=1.0)
    return LoadPlan(server.host, server.port, (stream,), seconds, concurrency=clients, timeout=60.0)


# -- latency -----------------------------------------------------------------------

_CELLS = ("idle", "idle again", "process", "thread", "inline")
_WAIT = 20.0  # ms that a probe asks for
_RATE = 60.0  # probes/s, far below 10 % of what 8 loops answer


def latency(rounds: int, seconds: float, neighbours: int) -> list[Row]:
    """Return what I/O costs beyond the requested wait, while every slot has work."""
    samples: dict[str, list[list[float]]] = {cell: [] for cell in _CELLS}
    for turn in range(rounds):
        cells = list(_CELLS)
        np.random.default_rng(turn).shuffle(cells)
        for cell in cells:
            with busy_neighbours(neighbours):
                samples[cell].append(_added(cell, seconds, turn))
    pooled = {cell: np.concatenate(found) for cell, found in samples.items()}
    idle = _p99(pooled["idle"])
    chance = abs(_p99(pooled["idle again"]) - idle)
    allowed = {"process": 0.5, "thread": 2.0}
    rows = []
    for cell, found in pooled.items():
        row: Row = {
            "neighbours": neighbours,
            "cell": cell,
            "p50_ms": round(float(np.median(found)), 3),
            "p99_ms": round(_p99(found), 3),
            "beyond_idle_ms": round(_p99(found) - idle, 3),
        }
        if cell in allowed:
            row["goal"] = f"≤ {allowed[cell]} ms, or ≤ {chance:.3f} (A/A)"
        rows.append(row)
    return rows


def _added(cell: str, seconds: float, seed: int) -> Any:
    lane = cell if cell in ("process", "thread", "inline") else "auto"
    flags = ("--io-workers", "8", "--cpu-pool", "4", "--cpu-lane", lane, "--cpu-queue", "0")
    with serve(*flags) as server, ExitStack() as stack:
        if not cell.startswith("idle"):
            jobs = stack.enter_context(LoadGenerator())
            jobs.start(_busy(server, "/cpu/svd?n=200&deadline=60", seconds + 4.0, 64))
            time.sleep(1.5)
        probes = stack.enter_context(LoadGenerator())
        stream = Stream("wait", f"/io/wait?ms={_WAIT:g}", rate=_RATE)
        plan = LoadPlan(server.host, server.port, (stream,), seconds + 1.0, warmup=1.0)
        result = probes.run(replace(plan, seed=seed, timeout=60.0))
        return 1e3 * result.stream("wait").latency() - _WAIT


def _p99(values: Any) -> float:
    return float(np.quantile(values, 0.99, method="inverted_cdf"))


@contextmanager
def busy_neighbours(count: int) -> Iterator[None]:
    """Run a number of other programs that compute all the time."""
    spin = [sys.executable, "-c", "while True: pass"]
    programs = [subprocess.Popen(leashed(spin), start_new_session=True) for _ in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


# -- resident ----------------------------------------------------------------------

_JOBS = """
import hybrid, numpy as np

def table():
    return np.random.default_rng(1).random(25_000_000)  # 200 MB

TABLE = hybrid.resident("pss-proof", table)

@hybrid.job
def look():
    return float(TABLE.sum())
"""
_APP = """
import falcon.asgi, hybrid
from resident_jobs import look

class Look:
    async def on_get(self, req, resp):
        resp.media = await hybrid.broadcast(look, deadline=120.0)

app = falcon.asgi.App()
hybrid.install(app)
app.add_route("/look", Look())
"""


def resident() -> list[Row]:
    """Let 8 workers and 32 pool processes read every page of one array; add up their PSS."""
    with tempfile.TemporaryDirectory(prefix="hybrid-resident-") as folder:
        Path(folder, "resident_jobs.py").write_text(_JOBS)
        Path(folder, "resident_app.py").write_text(_APP)
        os.environ["HYBRID_RESIDENT_DIR"] = folder
        target = ("resident_app:app", "--app-dir", folder)
        try:
            with serve(*target, "--io-workers", "8", "--cpu-pool", "4") as server:
                before = server.usage(memory=True)
                seen: dict[str, int] = {}
                end = time.monotonic() + 120.0
                while len(seen) < 8 and time.monotonic() < end:
                    url = f"http://{server.host}:{server.port}/look"
                    with urllib.request.urlopen(url, timeout=120) as answer:
                        seen[answer.headers["X-Worker"]] = len(json.loads(answer.read()))
                after = server.usage(memory=True)
        finally:
            del os.environ["HYBRID_RESIDENT_DIR"]
    return [
        {
            "processes": after.processes,
            "looked": sum(seen.values()),
            "array_mb": 200,
            "pss_before_mb": round(before.pss / 1e6, 1),
            "pss_after_mb": round(after.pss / 1e6, 1),
            "grown_by_mb": round((after.pss - before.pss) / 1e6, 1),
        }
    ]


def main() -> None:
    """Run the cases that are named, or all."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("cases", nargs="*", default=["start", "saturation", "latency", "resident"])
    parser.add_argument("--rounds", type=int, default=2, help="of the latency case")
    parser.add_argument("--seconds", type=float, default=15.0, help="per cell")
    parser.add_argument("--json", type=Path, default=RESULTS)
    options = parser.parse_args()
    ask_to_be_prompt()
    here = fingerprint()
    found: dict[str, list[Row]] = {}
    if options.json.exists():  # cases can be measured one by one
        found = json.loads(options.json.read_text())["cases"]
    for case in options.cases:
        if case == "start":
            found[case] = start(20)
        elif case == "saturation":
            found[case] = saturation(options.seconds)
        elif case == "resident":
            found[case] = resident()
        else:
            found[case] = [
                row
                for neighbours in (0, 2)
                for row in latency(options.rounds, options.seconds, neighbours)
            ]
        show(case, found[case])
    print(f"\n{one_line(here)}")
    options.json.parent.mkdir(exist_ok=True)
    options.json.write_text(json.dumps({"machine": here, "cases": found}, indent=1))


if __name__ == "__main__":
    main()
