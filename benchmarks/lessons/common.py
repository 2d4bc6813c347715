"""What every lesson needs: recordings, tables, statements, short runs of load."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hybrid.bench.load.generator import LoadGenerator, LoadResult
from hybrid.bench.load.plan import LoadPlan, Stream
from hybrid.bench.load.records import Floats as Floats
from hybrid.bench.load.records import Records as Records
from hybrid.bench.matrix.run import replace_text
from hybrid.bench.server.fingerprint import fingerprint, one_line
from hybrid.bench.server.served import Server

Row = TypeVar("Row")
RESULTS = Path(__file__).resolve().parents[1] / "results"


def wanted_profile(name: str, wanted: str | None) -> str:
    """Return "full", "ci" or "replay".

    Args:
        name: of the recording.
        wanted: one of the three; None: HYBRID_NB_PROFILE, or replay where there is
            a recording, else ci.
    """
    found = wanted or os.environ.get("HYBRID_NB_PROFILE") or ""
    return found or ("replay" if recording(name).exists() else "ci")


def recording(name: str) -> Path:
    """Return where the results of a notebook are kept; HYBRID_NB_RESULTS is another folder."""
    return Path(os.environ.get("HYBRID_NB_RESULTS") or RESULTS) / f"{name}.json"


def obtain(
    name: str, kind: type[Row], measure: Callable[[bool], list[Row]], wanted: str | None
) -> tuple[str, list[Row]]:
    """Return the machine's line and the rows, measured now or recorded earlier.

    Args:
        name: of the recording.
        kind: the rows' dataclass, of plain fields.
        measure: called with True for the thorough measurement, which is recorded,
            or with False for the brief one.
        wanted: see `wanted_profile`.
    """
    profile = wanted_profile(name, wanted)
    path = recording(name)
    if profile == "replay":
        stored = json.loads(path.read_text())
        return one_line(stored["machine"]), [kind(**each) for each in stored["rows"]]
    machine, found = fingerprint(), measure(profile == "full")
    if profile == "full":
        rows = [asdict(each) for each in found]  # type: ignore[call-overload]
        stored = {"format": 1, "machine": machine, "rows": rows}
        replace_text(path, json.dumps(stored, indent=1, allow_nan=False) + "\n")
    return one_line(machine), found


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def checks(held: dict[str, bool]) -> str:
    """Return statements and whether they held, as Markdown."""
    return table(("statement", "held"), ((k, "yes" if v else "**no**") for k, v in held.items()))


def closed(
    server: Server, generator: LoadGenerator, path: str, clients: int, seconds: float
) -> LoadResult:
    """Run a closed loop of `clients`, a connection each."""
    return generator.run(closed_plan(server, path, clients, seconds))


def closed_plan(server: Server, path: str, clients: int, seconds: float) -> LoadPlan:
    """Return the plan of a closed loop; its answers may take half a minute."""
    return LoadPlan(
        server.host,
        server.port,
        (Stream("job", path),),
        duration=seconds,
        concurrency=clients,
        connections=clients,
        timeout=30.0,
    )


def alone(server: Server, generator: LoadGenerator, path: str, seconds: float = 0.3) -> float:
    """Return the median seconds of a request that has the server to itself."""
    return float(np.median(closed(server, generator, path, 1, seconds).records.uncorrected()))


def ms(seconds: float | None, digits: int = 1) -> str:
    """Return seconds as milliseconds for a table."""
    return "–" if seconds is None else f"{1e3 * seconds:.{digits}f}"


def mean_of(result: LoadResult, column: str) -> float:
    """Return the mean of a column of milliseconds over good answers, in seconds."""
    values: Any = result.records[column][result.records.ok]
    return float(values.mean()) / 1e3 if len(values) else 0.0
