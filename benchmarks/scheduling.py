"""How connections find a worker, policy by policy. ``make scheduling``.

fresh     2,000 connections of one request each at 400/s: on which of 4 workers do
          they land, and what does a connection cost?
kept      64 keep-alive connections, opened at once: the same
moved     64 of them on one worker, then three more workers: how long until they are even?
blocked   one worker's loop stands still for 2 s: how many of all others notice?
lost      20 slots stop under 1,500 fresh connections/s: how many requests are lost?

The table is that of the recorded rounds: medians, except losses, which add up.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from hybrid.bench.load.generator import LoadGenerator, LoadResult
from hybrid.bench.load.plan import LoadPlan, Stream
from hybrid.bench.load.records import Records
from hybrid.bench.server.fingerprint import fingerprint, one_line
from hybrid.bench.server.served import Server
from hybrid.cli.client import Client
from hybrid.core.messages import control_messages as c
from hybrid.system.process.time_slice import ask_to_be_prompt

POLICIES = ("shared", "reuseport", "round-robin", "least-loaded")
WORKERS, KEPT, FRESH = 4, 64, 2000
FRESH_RATE, KEPT_RATE, STOP_RATE = 400.0, 640.0, 1500.0  # requests/s
BLOCK, STOPS = 2.0, 20  # s; slots that stop
NOTICED = 0.1  # s; a request that waits longer has noticed
EVEN = 1.5  # the busiest over the mean
RESULTS = Path(__file__).parent / "results" / "scheduling.json"
README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- scheduling -->", "<!-- /scheduling -->"
Row = dict[str, Any]


class Cluster(Server):
    """A server of one policy, with its control socket."""

    def __init__(self, policy: str, workers: int, *flags: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="hybrid-scheduling-")
        self._control = Path(self._folder.name) / "control.sock"
        words = f"--io-workers {workers} --cpu-pool 0 --scheduling {policy} --no-access-log --chaos"
        place = ("--bind", "127.0.0.1:0", "--control-socket", str(self._control))
        super().__init__([sys.executable, "-m", "hybrid", "serve", *words.split(), *place, *flags])

    def scale(self, workers: int) -> None:
        """Return when this number of workers is ready."""
        client = Client(self._control)
        for answer in client.ask(c.ScaleRequest(to=workers)):
            if answer["answer"] not in ("progress", "done"):
                raise RuntimeError(answer)
            if answer["answer"] == "done":
                break
        client.close()

    def primary(self) -> int:
        """Return the primary's pid."""
        client = Client(self._control)
        try:
            return int(client.status()["primary"]["pid"])
        finally:
            client.close()

    def stop(self) -> None:
        """End it, and its folder."""
        super().stop()
        self._folder.cleanup()


def fresh(server: Server, rate: float, seconds: float, path: str = "/hello") -> LoadPlan:
    """Return a plan of connections that carry one request each."""
    stream = Stream("fresh", path, rate, arrivals="constant")
    return LoadPlan(
        server.host, server.port, (stream,), seconds, connections=0, reconnect_every=1, timeout=20.0
    )


def kept(server: Server, seconds: float) -> LoadPlan:
    """Return a plan of 64 keep-alive connections, asked in turn."""
    stream = Stream("kept", "/hello", KEPT_RATE, arrivals="constant")
    return LoadPlan(
        server.host,
        server.port,
        (stream,),
        seconds,
        connections=KEPT,
        max_connections=KEPT,
        timeout=20.0,
    )


# -- the cases -----------------------------------------------------------------------


def measure_fresh(policy: str, load: LoadGenerator) -> Row:
    """Return the spread of fresh connections, and what one costs beyond its request."""
    with Cluster(policy, WORKERS, "--no-keepalive-balance") as server:
        primary = server.primary()
        load.run(fresh(server, FRESH_RATE, 0.5))  # everything has run once
        before, mine = server.usage().cpu, cpu_of(primary)
        rows = load.run(fresh(server, FRESH_RATE, FRESH / FRESH_RATE)).records
        each, passing = (server.usage().cpu - before) / FRESH, (cpu_of(primary) - mine) / FRESH
        before, seconds = server.usage().cpu, FRESH / KEPT_RATE
        load.run(kept(server, seconds))
        of_kept = (server.usage().cpu - before) / FRESH
    return {
        **spread(rows),
        "connection_us": round(1e6 * (each - of_kept), 1),
        "of_it_primary_us": round(1e6 * passing, 1),
        "latency_p50_ms": _ms(rows, 0.5),
        "latency_p99_ms": _ms(rows, 0.99),
        "failed": int(np.count_nonzero(~rows.ok)),
    }


def measure_kept(policy: str, load: LoadGenerator) -> Row:
    """Return the spread of keep-alive connections as the policy places them."""
    with Cluster(policy, WORKERS, "--no-keepalive-balance") as server:
        return spread(load.run(kept(server, FRESH / KEPT_RATE)).records)


def measure_moved(policy: str, load: LoadGenerator) -> Row:
    """Return how long connections need to get even after three workers have come."""
    with Cluster(policy, 1) as server:
        load.start(kept(server, 15.0))
        time.sleep(1.0)
        began = time.monotonic()
        server.scale(WORKERS)
        result = load.finish()
    rows = result.records
    from_here = began - result.summary["started"]
    window = KEPT / KEPT_RATE * 2.0  # s; every connection is asked twice
    moments = np.arange(from_here, 15.0 - window, window / 2)
    even = [at for at in moments if spread(_between(rows, at, window))["most"] <= EVEN]
    return {
        "even_after_s": round(float(even[0]) - from_here, 1) if even else None,
        "most_at_the_end": spread(_between(rows, 15.0 - 2.0, 2.0))["most"],
        "failed": int(np.count_nonzero(~rows.ok)),
    }


def measure_blocked(policy: str, load: LoadGenerator) -> Row:
    """Return how many requests of others wait for a worker that is blocked."""
    with LoadGenerator() as blocker, Cluster(policy, WORKERS) as server:
        plans = {"fresh": fresh(server, FRESH_RATE, 3.0), "kept": kept(server, 3.0)}
        found: Row = {}
        for name, plan in plans.items():
            load.start(plan)
            time.sleep(0.5)
            stream = Stream("block", f"/ops/block?ms={1e3 * BLOCK:g}", 10.0, method="POST")
            blocker.start(LoadPlan(server.host, server.port, (stream,), 0.1, concurrency=1))
            result = load.finish()
            found |= noticed(name, result)
            blocker.finish()
    found["fresh_share"] = round(found["fresh_noticed"] / (BLOCK * FRESH_RATE), 4)
    return found


def noticed(name: str, result: LoadResult) -> Row:
    """Return the requests that waited, of those that came while the loop stood still."""
    rows = _between(result.records, 0.5, BLOCK)
    latency = rows.latency()
    return {
        f"{name}_noticed": int(np.count_nonzero(latency > NOTICED)),
        f"{name}_worst_s": round(float(latency.max()), 2),
        f"{name}_failed": int(np.count_nonzero(~rows.ok)),
    }


def measure_lost(policy: str, load: LoadGenerator) -> Row:
    """Return what is lost while slots stop, one after the other."""
    with Cluster(policy, WORKERS) as server:
        began = time.monotonic()
        lost = requests = 0
        for _ in range(STOPS):
            load.start(fresh(server, STOP_RATE, 1.0))
            time.sleep(0.3)
            server.scale(WORKERS - 1)
            rows = load.finish().records
            lost, requests = lost + int(np.count_nonzero(~rows.ok)), requests + len(rows)
            server.scale(WORKERS)
        return {
            "stops": STOPS,
            "requests": requests,
            "lost": lost,
            "seconds": round(time.monotonic() - began, 1),
        }


CASES: dict[str, Callable[[str, LoadGenerator], Row]] = {
    "fresh": measure_fresh,
    "kept": measure_kept,
    "moved": measure_moved,
    "blocked": measure_blocked,
    "lost": measure_lost,
}


# -- small steps ---------------------------------------------------------------------


def spread(rows: Records) -> Row:
    """Return answers per worker, and the busiest one's over the mean."""
    shares = rows.shares()
    each = sorted((shares.get(slot, 0) for slot in range(1, WORKERS + 1)), reverse=True)
    return {"workers": each, "most": round(max(each) * WORKERS / max(1, sum(each)), 2)}


def cpu_of(pid: int) -> float:
    """Return CPU seconds of one process."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _between(rows: Records, start: float, seconds: float) -> Records:
    return rows.where((rows["intended"] >= start) & (rows["intended"] < start + seconds))


def _ms(rows: Records, q: float) -> float:
    return round(1e3 * float(np.quantile(rows.latency(), q, method="inverted_cdf")), 2)


# -- the table -----------------------------------------------------------------------


def table(found: dict[str, list[Row]]) -> str:
    """Return the recorded rounds as a Markdown table."""
    lines = [
        "| policy | 2,000 fresh: busiest/mean | their p50, p99 | 64 kept: busiest/mean "
        "| a fresh one costs (of it the primary) | even again after scaling 1 → 4 "
        "| one of 4 workers blocked for 2 s: fresh that notice (worst), kept "
        "| lost when 20 slots stop |",
        "|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(_line(policy, found) for policy in POLICIES)])


def _line(policy: str, found: dict[str, list[Row]]) -> str:
    def middle(case: str, name: str) -> float:
        return statistics.median(_values(found, case, policy, name))

    even = [each for each in _values(found, "moved", policy, "even_after_s") if each is not None]
    lost, requests = (sum(_values(found, "lost", policy, name)) for name in ("lost", "requests"))
    cells = [
        f"`{policy}`",
        f"{middle('fresh', 'most'):.2f}",
        f"{middle('fresh', 'latency_p50_ms'):.1f}, {middle('fresh', 'latency_p99_ms'):.1f} ms",
        f"{middle('kept', 'most'):.2f}",
        f"{middle('fresh', 'connection_us'):.0f} µs ({middle('fresh', 'of_it_primary_us'):.0f} µs)",
        f"{statistics.median(even):.0f} s" if even else "not within 14 s",
        f"{middle('blocked', 'fresh_share'):.1%} ({middle('blocked', 'fresh_worst_s'):.2f} s), "
        f"{middle('blocked', 'kept_noticed'):.0f} of {KEPT}",
        f"{lost} of {requests:,}",
    ]
    return f"| {' | '.join(cells)} |"


def _values(found: dict[str, list[Row]], case: str, policy: str, name: str) -> list[Any]:
    return [row[name] for row in found.get(case, ()) if row["policy"] == policy]


def section(recorded: dict[str, Any]) -> str:
    """Return what stands between the markers of the README."""
    machine = recorded["machine"]
    where = f"({one_line(machine)}; load average {machine['load'][0]:.1f} when it began.)"
    return f"{BEGIN}\n{table(recorded['cases'])}\n\n{where}\n{END}"


def write_readme(text: str, recorded: dict[str, Any]) -> str:
    """Return `text` with the table between its markers."""
    before, rest = text.split(BEGIN)
    return before + section(recorded) + rest.split(END)[1]


def run(cases: Iterable[str], rounds: int) -> dict[str, list[Row]]:
    """Measure; every round holds every policy once, each time from another one on."""
    found: dict[str, list[Row]] = {case: [] for case in cases}
    with LoadGenerator() as load:
        for turn in range(rounds):
            for case, rows in found.items():
                for policy in (*POLICIES[turn % 4 :], *POLICIES[: turn % 4]):
                    rows.append({"policy": policy, **CASES[case](policy, load)})
                    facts = "  ".join(f"{key} {value}" for key, value in rows[-1].items())
                    print(f"{case:8}{facts}", flush=True)
    return found


def main() -> None:
    """Run the cases that are named, or all; keep the recorded others."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; none: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--readme", action="store_true", help="measure nothing, write the table")
    options = parser.parse_args()
    if options.readme:
        README.write_text(write_readme(README.read_text(), json.loads(options.json.read_text())))
        return
    ask_to_be_prompt()
    here = fingerprint()
    found = json.loads(options.json.read_text())["cases"] if options.json.exists() else {}
    found |= run(options.cases or CASES, options.rounds)
    options.json.parent.mkdir(exist_ok=True)
    options.json.write_text(json.dumps({"machine": here, "cases": found}, indent=1))
    print(f"\n{table(found)}\n{one_line(here)}")


if __name__ == "__main__":
    main()
