"""`make peers`: the same load on hybrid, Node and uvicorn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hybrid.bench.matrix_command import INTERRUPTED

if TYPE_CHECKING:
    from rich.console import Console

    from benchmarks.peers.compare import Comparison


@click.command(epilog="\b\nmake peers")
@click.option(
    "--io-workers",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="workers of each stack; 0: one per CPU",
)
@click.option(
    "--cpu-pool",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="pool slots per worker; 0: one per CPU",
)
@click.option(
    "--blocks",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    metavar="N",
    help="number of repetitions",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.3),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="duration of each load",
)
@click.option("--out", type=click.Path(path_type=Path), help="file for the results as JSON")
def peers(io_workers: int, cpu_pool: int, blocks: int, seconds: float, out: Path | None) -> None:
    """Compare hybrid with Node + piscina and uvicorn + a process pool.

    Missing packages are installed below benchmarks/peers. A peer that cannot
    be installed is skipped, with the reason.
    """
    from rich.console import Console

    from benchmarks.peers.compare import begin

    console = Console()
    with console.status("installing what is missing"):
        found = begin(io_workers, cpu_pool)
    interrupted = False
    try:
        _measure(console, found, blocks, seconds, out)
    except KeyboardInterrupt:
        interrupted = True
        console.print("interrupted: reporting what was measured so far", style="yellow")
    if not found.cells:
        raise click.ClickException("interrupted before anything was measured")
    print_comparison(console, found)
    if out is not None:
        console.print(f"stored in {out}")
    if interrupted:
        raise SystemExit(INTERRUPTED)


def _measure(
    console: Console, found: Comparison, blocks: int, seconds: float, out: Path | None
) -> None:
    """Run every block under a progress bar; what is measured is stored at once."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Left

    from benchmarks.peers.compare import run
    from hybrid.bench.matrix.run import replace_text

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Left())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("how long a job takes alone", total=blocks * len(found.titles))
        for cell in run(found, blocks, seconds):
            label = f"block {cell.block + 1}: {found.titles[cell.peer]}"
            progress.update(bar, advance=1, description=label)
            if out is not None:
                replace_text(out, json.dumps(found.to_dict(), indent=1, allow_nan=False) + "\n")


def print_comparison(console: Console, found: Comparison) -> None:
    """Print figures, ratios, and what was skipped and excluded."""
    from benchmarks.peers.compare import MEASURES
    from benchmarks.peers.stacks import HYBRID
    from hybrid.bench.report.text import plain_table
    from hybrid.bench.server.fingerprint import one_line
    from hybrid.bench.theory.statistics import interval
    from hybrid.bench.verdict.verdict import number

    title = f"{found.workers} workers × {found.slots} slots; ratio: hybrid over the peer"
    others = [name for name in found.titles if name != HYBRID]
    ratios = [f"hybrid / {name}" for name in others]
    table = plain_table(title, "", HYBRID, *others, *ratios, left=("",))
    table.caption = "\n".join(
        f"{name}: {found.titles[name].removeprefix(f'{name}: ')}" for name in (HYBRID, *others)
    )
    for measure in MEASURES:
        row = [f"{measure.title}, {measure.unit}"]
        for name in (HYBRID, *others):
            values = list(found.values(name, measure.key).values())
            row.append(number(interval(values)[0]) if values else "⚠")
        for name in others:
            ratio = found.against(name, measure.key)
            known = ratio is not None and ratio.pairs > 1
            spread = f"\n{ratio.low:.2f} … {ratio.high:.2f}" if ratio and known else ""
            row.append(f"{ratio.estimate:.2f}{spread}" if ratio else "–")
        table.add_row(*row)
    console.print(table)
    for name, why in found.skipped.items():
        console.print(f"skipped {name}: {why}", style="yellow", markup=False)
    for cell in found.cells:
        for why in cell.problems:
            line = f"⚠ excluded: {cell.peer}, block {cell.block + 1}: {why}"
            console.print(line, style="yellow", markup=False)
    console.print(one_line(found.machine), style="dim", markup=False)


if __name__ == "__main__":
    peers()
