"""What hybrid is to reach, and whether a measurement shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

IDLE_BYTES = 6 * 1024  # of the worker's memory per idle keep-alive connection


@dataclass(frozen=True)
class Goal:
    """A bound on one figure of one case, relative to one peer."""

    case: str  # key of `CASES`
    peer: str
    figure: str  # "ratio": of CPU, at most `bound`; "throughput_ratio": at least
    bound: float


def goals_for(version: str) -> list[Goal]:
    """Return the goals of one Python version; 3.12 brought tasks that start at once."""
    is_eager = tuple(int(part) for part in version.split(".")[:2]) >= (3, 12)
    node, uvicorn = (1.0, 0.6) if is_eager else (1.25, 0.65)
    return [
        Goal("hello", "Node cluster", "ratio", node),
        Goal("hello", "uvicorn", "ratio", uvicorn),
        Goal("json", "uvicorn", "ratio", 0.65),
        Goal("post", "uvicorn", "ratio", 0.65),
        Goal("down", "uvicorn", "ratio", 0.7),
        Goal("up", "uvicorn", "ratio", 0.7),
        Goal("wsgi", "gunicorn gthread", "ratio", 0.6),
        Goal("down", "Node cluster", "throughput_ratio", 1.0),
        Goal("up", "Node cluster", "throughput_ratio", 1.0),
    ]


def verdicts(version: str, cases: dict[str, Any], idle_bytes: float | None) -> list[dict[str, Any]]:
    """Return every goal that was measured, with its figure and whether it is reached."""
    found: list[dict[str, Any]] = []
    for goal in goals_for(version):
        row = cases.get(goal.case, {}).get(goal.peer)
        if row is None:
            continue
        value = row[goal.figure]
        reached = value <= goal.bound if goal.figure == "ratio" else value >= goal.bound
        what = "CPU" if goal.figure == "ratio" else "throughput"
        text = f"{goal.case}: {what} / {goal.peer}'s"
        found.append({"goal": text, "bound": goal.bound, "found": value, "reached": reached})
    if idle_bytes is not None:
        reached = idle_bytes <= IDLE_BYTES
        text = "bytes per idle connection"
        found.append(
            {"goal": text, "bound": IDLE_BYTES, "found": round(idle_bytes), "reached": reached}
        )
    return found


def show_verdicts(found: list[dict[str, Any]]) -> None:
    """Print the goals, reached and missed."""
    for line in found:
        word = "reached" if line["reached"] else "MISSED"
        print(f"  {line['goal']:44} {line['found']:8g}  goal {line['bound']:g}  {word}")
