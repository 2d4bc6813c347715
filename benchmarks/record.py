"""Measure everything that the repository shows, then put it in place in one step.

    python -m benchmarks.record            (make record; about 20 minutes on a quiet machine)

    matrix, peers, notebooks 2 to 8 measured, notebook 1 from the matrix
      --> build/recording --(all of it, at the end)--> results, notebooks, README

Rule 1: until the last step is done nothing outside build/ is touched, so an interrupt
        leaves results, pictures and sentences as they were, all of one recording.
Rule 2: what is done is not done again; the next call goes on where this one stopped.
        Another commit starts over: a recording never mixes two versions of the code.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STAGE = ROOT / "build" / "recording"
BLOCKS = 5
AGAIN = 2  # times that excluded cells of the matrix get another chance
HYBRID = (sys.executable, "-m", "hybrid", "bench")


@dataclass(frozen=True, slots=True)
class Step:
    """One part of the recording."""

    name: str
    result: Path  # there when the step is done
    run: Callable[[Path], None]  # called with where to put the result


def record(steps: Sequence[Step], say: Callable[[str], None] = print) -> None:
    """Run the steps whose results are not there; each result appears whole or not at all."""
    for step in steps:
        if step.result.exists():
            say(f"{step.name}: done before")
            continue
        began = time.monotonic()
        draft = step.result.with_name(f"draft-{step.result.name}")
        draft.parent.mkdir(parents=True, exist_ok=True)
        step.run(draft)
        draft.replace(step.result)
        say(f"{step.name}: {time.monotonic() - began:.0f} s")


def steps(root: Path = ROOT, stage: Path = STAGE) -> list[Step]:
    """Return the parts of a recording in their order."""
    books = sorted((root / "notebooks").glob("*.ipynb"))
    # The first one only shows the matrix.
    ordered = [*books[1:], *books[:1]]
    return [
        Step("matrix", stage / "matrix.json", _matrix),
        Step("peers", stage / "peers.json", _peers),
        *(Step(book.stem, stage / "notebooks" / book.name, _book(book, stage)) for book in ordered),
    ]


def place(root: Path = ROOT, stage: Path = STAGE) -> None:
    """Move the finished recording to where the repository shows it."""
    results = root / "benchmarks" / "results"
    for path in stage.glob("*.json"):
        path.replace(results / path.name)
    for path in (stage / "notebooks").glob("*.ipynb"):
        path.replace(root / "notebooks" / path.name)
    picture = ("--svg", "benchmarks/results/matrix.svg", "--readme", "README.md")
    _call((*HYBRID, "report", "benchmarks/results/matrix.json", *picture), cwd=root)
    shutil.rmtree(stage)


def fresh(stage: Path, commit: str) -> None:
    """Forget what another version of the code has measured."""
    mark = stage / "commit"
    if mark.exists() and mark.read_text() == commit:
        return
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    mark.write_text(commit)


def _matrix(out: Path) -> None:
    if out.exists():  # interrupted, and stored after every cell
        _call((*HYBRID, "matrix", "--resume", str(out)))
    else:
        _call((*HYBRID, "matrix", "--quick", "--blocks", str(BLOCKS), "--out", str(out)))
    for _ in range(AGAIN):
        stored = json.loads(out.read_text())
        if stored["complete"] and not any(cell["problems"] for cell in stored["cells"]):
            return
        _call((*HYBRID, "matrix", "--resume", str(out)))


def _peers(out: Path) -> None:
    _call((sys.executable, "-m", "benchmarks.peers", "--blocks", str(BLOCKS), "--out", str(out)))


def _book(book: Path, stage: Path) -> Callable[[Path], None]:
    first = book.name.startswith("01")
    profile = {"HYBRID_NB_PROFILE": "replay" if first else "full", "HYBRID_NB_RESULTS": str(stage)}

    def run(out: Path) -> None:
        shutil.copy(book, out)
        command = (sys.executable, "-m", "jupyter", "execute", "--inplace", str(out))
        _call(command, env={**os.environ, **profile})

    return run


def _call(command: Sequence[str], **how: object) -> None:
    subprocess.run(command, check=True, **how)  # type: ignore[call-overload]


def _commit() -> str:
    command = ("git", "rev-parse", "HEAD")
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def main() -> int:
    """Record, and show it."""
    fresh(STAGE, _commit())
    try:
        record(steps())
    except KeyboardInterrupt:
        print("\ninterrupted: nothing is changed; the next call goes on from here")
        return 130
    except subprocess.CalledProcessError as ex:
        print(f"{ex}\nnothing is changed; the next call goes on from here")
        return 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all of it or nothing
    place()
    return 0


if __name__ == "__main__":
    sys.exit(main())
