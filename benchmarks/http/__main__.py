"""``make bench-http``: CPU per request of hybrid and its peers, in interleaved rounds.

Every server runs pinned to one CPU, wrk to another; all of them are up, one is
awake and loaded at a time, the order turns with every round. What counts is user +
system time of the server's processes per answered request, from /proc. Ratios
are formed within a round and their median is given: what the machine does to
one round it does to both.

A complete run records itself in ``benchmarks/results/http-3.11.json`` (the
Python version of the servers, which ``--python`` chooses), a partial one only
where ``--record`` says.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson

from benchmarks.http import load, servers
from benchmarks.http.ablation import FEATURES
from benchmarks.http.app import DOCUMENT
from benchmarks.http.goals import show_verdicts, verdicts
from benchmarks.http.idle import bytes_per_idle_connection

RESULTS = Path(__file__).parent.parent / "results"
_JSON = orjson.dumps(DOCUMENT)
CASES = {
    "hello": load.Case("GET /hello", "/hello"),
    "wsgi": load.Case("GET /hello of a WSGI application", "/hello"),
    "json": load.Case("GET 1 KB of JSON", "/json"),
    "post": load.Case("POST 1 KB of JSON", "/json", body=_JSON),
    "down": load.Case("answer of 1 MB", "/megabyte", connections=8),
    "up": load.Case("POST 1 MB", "/megabyte", connections=8, body=b"x" * 2**20),
}


def main() -> None:
    """Measure what the command line asks for, print it, and record it."""
    options = _options()
    for python in options.python:
        interpreter = servers.environment(python)
        code = "import platform; print(platform.python_version())"
        version = _output(str(interpreter), "-c", code)
        report = {
            "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "machine": f"{os.cpu_count()} CPUs of {_cpu_model()}, {platform.platform()}",
            "load_before": round(os.getloadavg()[0], 2),
            "python": version,
            "node": _output("node", "--version"),
            "versions": servers.versions(interpreter),
            "rounds": options.rounds,
            "seconds": options.seconds,
            **measure_all(interpreter, version, options),
        }
        path = options.record or RESULTS / f"http-{'.'.join(version.split('.')[:2])}.json"
        if options.record or options.is_complete:
            path.write_text(json.dumps(report, indent=1) + "\n")
            print(f"recorded in {path}")


def measure_all(python: Path, version: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure what was asked for with one interpreter; print every table when it is there."""
    cases: dict[str, Any] = {}
    found: dict[str, Any] = {"cases": cases}
    for name in options.cases:
        peers = _peers(python, name, options.only)
        rounds = measure(peers, CASES[name], options.rounds, options.seconds)
        cases[name] = summary(rounds)
        show(f"{CASES[name].name}, Python {version}", cases[name])
    if options.features:
        rounds = measure(_features(python), CASES["hello"], options.rounds, options.seconds)
        found["features"] = summary(rounds)
        show(f"what each feature costs, Python {version}", found["features"])
        found["parts"] = json.loads(_output(*servers.pinned(python, "benchmarks.http.parts")))
        show_parts(f"CPU of one request without socket and kernel, Python {version}", found)
    size = None
    if options.idle:
        size = bytes_per_idle_connection(servers.hybrid(python))
        found["bytes_per_idle_connection"] = round(size)
        print(f"\n1,000 idle keep-alive connections, Python {version}: {size:.0f} bytes each")
    found["goals"] = verdicts(version, cases, size)
    print(f"\ngoals, Python {version}")
    show_verdicts(found["goals"])
    return found


def _peers(python: Path, case: str, only: list[str]) -> list[servers.Peer]:
    if case == "wsgi":
        peers = servers.wsgi_peers(python)
        return [peer for peer in peers if not only or peer.name in only]
    peers = [servers.hybrid(python), servers.node(), *servers.python_peers(python)]
    if case == "hello":
        peers.append(servers.bare(python))
    return [peer for peer in peers if not only or peer.name in only]


def _features(python: Path) -> list[servers.Peer]:
    peers = [servers.ablated(python)]
    peers += [servers.ablated(python, feature) for feature in FEATURES]
    peers.append(servers.ablated(python, *FEATURES, name="without any of them"))
    peers.append(servers.ablated(python, "+access log", name="with the access log"))
    return [*peers, servers.bare(python)]


def measure(
    peers: list[servers.Peer], case: load.Case, rounds: int, seconds: int
) -> dict[str, list[load.Round]]:
    """Return the rounds of every server that came up, by name."""
    running = []
    found: dict[str, list[load.Round]] = {}
    try:
        for peer in peers:
            port = load.free_port()
            running.append((peer, port, servers.start(peer, port, cpu=0)))
        for entry in list(running):
            try:
                load.wait_until_it_answers(entry[1])
                load.run_round(entry[2].pid, entry[1], case, 1, cpu=1)  # warm
                os.killpg(entry[2].pid, signal.SIGSTOP)
            except (TimeoutError, ValueError, OSError) as ex:
                why = str(ex).splitlines()[0]
                print(f"{entry[0].name} does not take part: {why}", file=sys.stderr)
                running.remove(entry)
                load.stop(entry[2])
        for number in range(rounds):
            turn = number % len(running)
            for peer, port, server in running[turn:] + running[:turn]:
                with load.awake(server):
                    result = _patiently(server.pid, port, case, seconds)
                found.setdefault(peer.name, []).append(result)
    finally:
        for _, _, server in running:
            load.stop(server)
    return {peer.name: found[peer.name] for peer in peers if peer.name in found}


def _patiently(pid: int, port: int, case: load.Case, seconds: int) -> load.Round:
    """Return one round; on a busy machine a server may get no CPU for a whole one."""
    for _ in range(3):
        try:
            return load.run_round(pid, port, case, seconds, cpu=1)
        except ValueError as ex:
            print(f"a round is repeated: {str(ex).splitlines()[0]}", file=sys.stderr)
    return load.run_round(pid, port, case, seconds, cpu=1)


def summary(rounds: dict[str, list[load.Round]]) -> dict[str, Any]:
    """Return medians, and the median of the in-round ratios of the first server to each."""
    first = next(iter(rounds.values()))
    rows: dict[str, Any] = {}
    for name, results in rounds.items():
        pairs = list(zip(first, results, strict=True))
        rows[name] = {
            "cpu_us": round(statistics.median(r.cpu_us for r in results), 2),
            "cpu_us_rounds": [round(r.cpu_us, 2) for r in results],
            "per_second": round(statistics.median(r.per_second for r in results)),
            "p99_ms": round(statistics.median(r.p99_ms for r in results), 3),
            "failed": sum(r.failed for r in results),
            "ratio": round(statistics.median(a.cpu_us / b.cpu_us for a, b in pairs), 3),
            "throughput_ratio": round(
                statistics.median(a.per_second / b.per_second for a, b in pairs), 3
            ),
        }
    return rows


def show(title: str, rows: dict[str, Any]) -> None:
    """Print one table."""
    first = next(iter(rows))
    print(f"\n{title}; ratio = CPU of {first} / CPU of the row", flush=True)
    for name, row in rows.items():
        print(
            f"  {name:26} {row['cpu_us']:9.2f} µs CPU {row['per_second']:8d}/s "
            f"p99 {row['p99_ms']:7.2f} ms  ratio {row['ratio']:6.3f}"
            + (f"  {row['failed']} FAILED" if row["failed"] else ""),
            flush=True,
        )


def show_parts(title: str, found: dict[str, Any]) -> None:
    """Print where a request's microseconds go."""
    print(f"\n{title}")
    for name, cpu in found["parts"].items():
        print(f"  {name:52} {cpu:6.2f} µs")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-http", description=__doc__)
    parser.add_argument("--python", action="append", help="interpreter of the servers (repeatable)")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--only", action="append", default=[], help="name of a server (repeatable)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--no-features", dest="features", action="store_false")
    parser.add_argument("--no-idle", dest="idle", action="store_false")
    parser.add_argument(
        "--record", type=Path, help="file to write, instead of benchmarks/results/http-3.x.json"
    )
    options = parser.parse_args()
    options.python = options.python or [sys.executable]
    if options.record and len(options.python) > 1:
        parser.error("--record is one file; with several --python leave it out")
    everything = options.features and options.idle and not options.only
    options.is_complete = everything and len(options.cases) == len(CASES)
    return options


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "?")


def _output(*command: str) -> str:
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=120, cwd=servers.ROOT
    ).stdout.strip()


if __name__ == "__main__":
    main()
