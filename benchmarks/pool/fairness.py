"""Is one queue per worker with shared permits as fair as a single queue? `make fairness`.

4 workers × 8 slots, at most 8 jobs at once in the cluster, jobs that take a
permit for 50 ms and no CPU, Poisson arrivals at load 0.8:

    random      every arrival goes to a worker drawn at random
    one worker  every arrival goes to the same worker
    disturbed   anywhere, while a worker is killed, all are reloaded, one is added, one leaves

Held against a simulated single queue of 8 servers that gets the very same
arrivals and needs exactly 50 ms: p99 of the wait may be 1.5 times its p99. The
wait is that of the client: everything but the job's own run, HTTP included.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pool.fair_client import ANYWHERE, Load
from hybrid.bench.server.fingerprint import fingerprint, one_line
from hybrid.bench.server.served import Server
from hybrid.bench.theory.simulate import waits, waits_dispatched
from hybrid.system.process.time_slice import ask_to_be_prompt

WORKERS, SLOTS, LIMIT = 4, 8, 8
SERVICE, LOAD = 0.050, 0.8  # s; share of LIMIT
GOAL = 1.5
SCENARIOS = ("random", "one worker", "disturbed")
RESULTS = Path(__file__).parents[1] / "results" / "pool_fairness.json"


def arrivals(seconds: float, seed: int) -> list[float]:
    """Return Poisson arrival times in [0, seconds)."""
    rng = np.random.default_rng(seed)
    rate = LOAD * LIMIT / SERVICE
    times: list[float] = np.sort(rng.uniform(0.0, seconds, rng.poisson(rate * seconds))).tolist()
    return times


def wanted(scenario: str, count: int, seed: int) -> list[int]:
    """Return the worker that each arrival is for."""
    rng = random.Random(seed)
    if scenario == "random":
        return [rng.randint(1, WORKERS) for _ in range(count)]
    return [1 if scenario == "one worker" else ANYWHERE] * count


class Disturbance:
    """Kills, reloads and scales in the middle of a run."""

    def __init__(self, server: Server, load: Load, seconds: float) -> None:
        self._server, self._load, self._seconds = server, load, seconds
        self.excused: set[int] = set()  # jobs in flight in the process that was killed

    async def run(self, start: float) -> None:
        """Do everything at its time."""
        acts = {0.2: self._kill, 0.4: self._reload, 0.65: self._grow, 0.8: self._shrink}
        for share, act in acts.items():
            await asyncio.sleep(max(0.0, start + share * self._seconds - time.monotonic()))
            act()

    def _kill(self) -> None:
        status = json.loads(urllib.request.urlopen(self._url("/status"), timeout=10).read())
        victim = next(w for w in status["workers"] if w["slot"] == 2)
        slots = (victim["slot"], 0)
        self.excused = {index for index, slot in self._load.in_flight if slot in slots}
        os.kill(victim["pid"], signal.SIGKILL)

    def _reload(self) -> None:
        os.kill(self._primary(), signal.SIGHUP)

    def _grow(self) -> None:
        os.kill(self._primary(), signal.SIGTTIN)

    def _shrink(self) -> None:
        os.kill(self._primary(), signal.SIGTTOU)

    def _primary(self) -> int:
        status = json.loads(urllib.request.urlopen(self._url("/status"), timeout=10).read())
        return int(status["primary"]["pid"])

    def _url(self, path: str) -> str:
        return f"http://{self._server.host}:{self._server.port}{path}"


async def measure(scenario: str, seconds: float, seed: int) -> dict[str, Any]:
    """Run one scenario on a server of its own; return its figures."""
    flags = f"--io-workers {WORKERS} --cpu-pool {SLOTS} --cpu-limit {LIMIT} --cpu-queue 0"
    command = [sys.executable, "-m", "hybrid", "serve", *flags.split(), "--no-access-log"]
    with Server([*command, "--bind", "127.0.0.1:0"]) as server:
        load = Load(server.host, server.port, f"/cpu/sleep?ms={SERVICE * 1e3:g}&permit=1")
        await load.open_until(range(1, WORKERS + 1), each=40 if scenario == "random" else 60)
        times = arrivals(seconds, seed)
        disturbance = Disturbance(server, load, seconds)
        start = time.monotonic() + 0.5
        disturbing = None
        if scenario == "disturbed":
            disturbing = asyncio.create_task(disturbance.run(start))
        await load.run(times, wanted(scenario, len(times), seed), start)
        if disturbing is not None:
            await disturbing
        await load.close()
    return judge(scenario, seed, load, disturbance.excused)


def judge(scenario: str, seed: int, load: Load, excused: set[int]) -> dict[str, Any]:
    """Hold what was measured against the simulated single queue."""
    jobs = load.jobs
    at = np.array([job.at for job in jobs])
    answered = np.array([job.status == 200 for job in jobs])
    service = np.full(len(jobs), SERVICE)
    single = waits(at, service, LIMIT)
    private = waits_dispatched(at, service, WORKERS, LIMIT // WORKERS, "random", seed)
    measured = np.array([job.wait for job in jobs])[answered]
    queued = np.array([job.queue for job in jobs])[answered]
    lost = [index for index, job in enumerate(jobs) if job.status != 200]
    shares = np.bincount([job.worker for job in jobs], minlength=WORKERS + 1)[1:]
    return {
        "scenario": scenario,
        "seed": seed,
        "jobs": len(jobs),
        "p99_ms": _ms(measured),
        "p99_in_line_ms": _ms(queued),
        "p99_single_queue_ms": _ms(single),
        "p99_private_pools_ms": _ms(private),
        "mean_ms": round(1e3 * float(measured.mean()), 2),
        "mean_single_queue_ms": round(1e3 * float(single.mean()), 2),
        "ratio": round(_p99(measured) / _p99(single), 3),
        "ratio_private": round(_p99(private) / _p99(single), 3),
        "run_ms": round(1e3 * float(np.median([j.run for j in jobs if j.status == 200])), 2),
        "workers": shares.tolist(),
        "lost": len(lost),
        "retried": sum(job.retried for job in jobs),
        "retried_without_excuse": sorted(
            {index for index, job in enumerate(jobs) if job.retried} - excused
        ),
        "lost_without_excuse": sorted(set(lost) - excused),
        "errors": sorted({f"{jobs[i].status} {jobs[i].error}".strip() for i in lost}),
    }


def _p99(values: Any) -> float:
    return float(np.quantile(values, 0.99, method="inverted_cdf"))


def _ms(values: Any) -> float:
    return round(1e3 * _p99(values), 2)


def passed(row: dict[str, Any]) -> bool:
    """Return whether a run is as fair as promised, and lost nothing it may not lose."""
    return bool(row["ratio"] <= GOAL and not row["lost_without_excuse"])


def _kept(path: Path, chosen: list[str]) -> list[dict[str, Any]]:
    """Return the recorded runs of the scenarios that are not measured now."""
    if not path.exists():
        return []
    runs: list[dict[str, Any]] = json.loads(path.read_text())["runs"]
    return [run for run in runs if run["scenario"] not in chosen]


def main() -> int:
    """Run every scenario; return 1 if one was not fair."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("scenarios", nargs="*", help=f"of {', '.join(SCENARIOS)}; none: all")
    parser.add_argument("--seconds", type=float, default=30.0, help="of load per run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=RESULTS)
    options = parser.parse_args()
    ask_to_be_prompt()
    here, chosen = fingerprint(), options.scenarios or list(SCENARIOS)
    rows = _kept(options.json, chosen)
    print(f"{'scenario':12}{'jobs':>7}{'p99':>9}{'single':>9}{'ratio':>7}{'private':>9}{'lost':>6}")
    for seed in range(1, options.rounds + 1):
        for scenario in chosen:
            row = asyncio.run(measure(scenario, options.seconds, seed))
            rows.append(row)
            print(
                f"{scenario:12}{row['jobs']:>7}{row['p99_ms']:>9.1f}"
                f"{row['p99_single_queue_ms']:>9.1f}{row['ratio']:>7.2f}"
                f"{row['ratio_private']:>9.2f}{row['lost']:>6}  {'' if passed(row) else 'FAILED'}",
                flush=True,
            )
    print(f"ms; private: 4 pools of 2 servers, simulated; {one_line(here)}")
    options.json.parent.mkdir(exist_ok=True)
    options.json.write_text(json.dumps({"machine": here, "goal": GOAL, "runs": rows}, indent=1))
    return 0 if all(map(passed, rows)) else 1


if __name__ == "__main__":
    sys.exit(main())
