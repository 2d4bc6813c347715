"""What a cluster costs that has nothing to do: CPU, wake-ups, memory. ``make idle``.

``python -m benchmarks.idle [SECONDS]`` starts 8 workers × 4 slots with the demonstration
application, and uvicorn with 8 workers where it is installed, lets each settle, and
counts for 15 s. CPU time is the scheduler's (nanoseconds; ``utime`` counts ticks, and a
process that runs for 20 µs rarely meets one); a context switch is one that the kernel
counts for any thread. Memory is the sum of PSS.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path

from hybrid.bench.server.fingerprint import fingerprint, one_line
from hybrid.bench.server.procfs import session_members
from hybrid.bench.server.served import Server

RESULTS = Path(__file__).parent / "results" / "idle.json"
WORKERS, SLOTS = 8, 4
SETTLE = 5.0  # s; a worker rests after one
HYBRID = (
    f"-m hybrid serve --io-workers {WORKERS} --cpu-pool {SLOTS} --bind 127.0.0.1:0 "
    "--no-access-log --no-control-socket"
)
UVICORN = (
    f"-m uvicorn --workers {WORKERS} --port 0 --log-level info --no-access-log "
    "benchmarks.http.app:app"
)


def count(pids: list[int]) -> tuple[int, float]:
    """Return the context switches and CPU seconds of all threads of `pids` so far."""
    switches, seconds = 0, 0.0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            status = (thread / "status").read_text().splitlines()
            switches += sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)
            seconds += int((thread / "schedstat").read_text().split()[0]) * 1e-9
    return switches, seconds


def measure(command: str, seconds: float) -> dict[str, float]:
    """Start a server, let it settle, and return its costs per second."""
    with Server([sys.executable, *command.split()]) as server:
        time.sleep(SETTLE)
        pids = session_members(server.pid)
        (switches, cpu), began = count(pids), time.monotonic()
        time.sleep(seconds)
        after, took = count(pids), time.monotonic() - began
        memory = server.usage(memory=True)
    return {
        "processes": memory.processes,
        "cpu_percent": round((after[1] - cpu) / took * 100, 3),
        "switches_per_s": round((after[0] - switches) / took, 1),
        "pss_mb": round(memory.pss / 1e6, 1),
    }


def main(seconds: float) -> None:
    """Measure, print the table, record it."""
    servers = {f"hybrid {WORKERS} × {SLOTS}": HYBRID}
    if importlib.util.find_spec("uvicorn"):
        servers[f"uvicorn {WORKERS}"] = UVICORN
    rows = {name: measure(command, seconds) for name, command in servers.items()}
    machine = fingerprint()
    print(one_line(machine))
    print(f"{'idle':16}{'processes':>11}{'CPU %':>9}{'switches/s':>12}{'PSS MB':>9}")
    for name, row in rows.items():
        print(
            f"{name:16}{row['processes']:>11}{row['cpu_percent']:>9}"
            f"{row['switches_per_s']:>12}{row['pss_mb']:>9}"
        )
    RESULTS.write_text(json.dumps({"machine": machine, "seconds": seconds, "rows": rows}, indent=1))


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 15.0)
