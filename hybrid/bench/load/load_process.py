"""The load generator process: a plan per line in, a summary per line out.

    controller --(plan, one line of JSON)--> stdin
               <--(summary, one line of JSON)-- stdout      columns: plan.out (.npz)

It stays alive between runs, because starting Python and numpy for each costs
more than a short run. End of input ends it.
"""

from __future__ import annotations

import gc
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from hybrid.bench.load.arrivals import closed_mix, schedule
from hybrid.bench.load.engine import Engine
from hybrid.bench.load.plan import LoadPlan, RunClock
from hybrid.bench.load.records import Records, summarise
from hybrid.bench.load.wire import encode
from hybrid.system.process.time_slice import ask_to_be_prompt

CLOSED_CEILING = 150_000  # requests/s no Python generator exceeds; sizes the closed loop's columns


def run_plan(plan: LoadPlan) -> tuple[Records, RunClock]:
    """Offer `plan` to its server and return every request's row."""
    requests = [encode(stream, plan.host, plan.port) for stream in plan.streams]
    records = _prepare(plan)
    engine = Engine(plan, requests, records)
    gc.collect()
    gc.disable()  # a collection is a pause of ours that would be booked on the server
    before = signal.signal(signal.SIGINT, lambda *_: engine.stop())
    try:
        cpu = time.process_time()
        started, elapsed = engine.run()
        cpu = time.process_time() - cpu
    finally:
        signal.signal(signal.SIGINT, before)
        gc.enable()
    if plan.concurrency or engine.stopping:
        records = _sent_only(records)
        return records, RunClock(started, elapsed, cpu, offered_for=elapsed)
    return records, RunClock(started, elapsed, cpu, offered_for=plan.duration)


def _prepare(plan: LoadPlan) -> Records:
    if plan.concurrency:
        records = Records.allocate(int(plan.duration * CLOSED_CEILING) + plan.concurrency)
        records["stream"][:] = closed_mix(plan, len(records))
        return records
    times, streams = schedule(plan)
    records = Records.allocate(len(times))
    records["intended"][:] = times
    records["stream"][:] = streams
    return records


def _sent_only(records: Records) -> Records:
    """Drop what a closed or interrupted loop never sent, or still waited for at the end."""
    return records.where(np.isfinite(records["sent"]) & (records["outcome"] > 0))


def answer(line: str) -> dict[str, Any]:
    """Run the plan in `line`; an impossible plan is an answer too."""
    try:
        plan = LoadPlan.from_json(line)
        plan.check()
        records, clock = run_plan(plan)
        if plan.out:
            records.save(Path(plan.out))
        return summarise(records, plan, clock)
    except (OSError, ValueError, TypeError, KeyError) as ex:
        return {"error": f"{type(ex).__name__}: {ex}"}


def main() -> int:
    """Serve plans until the end of input."""
    ask_to_be_prompt()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends a run, never the process
    for line in sys.stdin:
        print(json.dumps(answer(line)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
