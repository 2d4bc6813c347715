"""`hybrid bench matrix` and `hybrid bench report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from hybrid.bench.matrix.run import Profile, Results

RESULTS = Path("benchmarks/results")
INTERRUPTED = 130  # as a shell says it: 128 + SIGINT


@click.command(
    epilog=(
        "\b\nhybrid bench matrix --quick --html report.html\n"
        "hybrid bench matrix --resume benchmarks/results/matrix-….json\n"
    )
)
@click.option("--quick", "name", flag_value="quick", help="three blocks, about eight minutes")
@click.option("--ci", "name", flag_value="ci", help="two rows, three columns, under a minute")
@click.option(
    "--full",
    "name",
    flag_value="full",
    default="full",
    help="five blocks, more than an hour (the default)",
)
@click.option(
    "--io-workers",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="workers of the clusters; 0: one per CPU",
)
@click.option(
    "--cpu-pool",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="pool slots per worker; 0: one per CPU",
)
@click.option("--scenario", multiple=True, help="measure only this row (repeatable)")
@click.option("--topology", multiple=True, help="measure only this column (repeatable)")
@click.option(
    "--blocks",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="number of repetitions; 0: as --quick, --ci or --full says",
)
@click.option("--seed", type=int, default=1, show_default=True, help="seed of random start times")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=RESULTS,
    show_default=True,
    help="folder for the results, or a file ending in .json",
)
@click.option(
    "--resume",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="continue an interrupted matrix, or measure again what was excluded from it",
)
@click.option("--html", type=click.Path(path_type=Path), help="file for a report in HTML")
def matrix(out: Path, resume: Path | None, html: Path | None, **chosen: Any) -> None:
    """Measure which topology wins which scenario on this machine.

    Results are stored after every cell. Ctrl-C ends the measurement early and
    reports what was measured; --resume continues it.
    """
    from rich.console import Console

    from hybrid.bench.report.text import print_matrix

    console = Console()
    wanted = None if resume else _profile(**chosen)
    results, path = _measure(console, wanted, resume, out)
    if results is None or not results.cells:
        raise click.ClickException("interrupted before anything was measured")
    print_matrix(console, results)
    console.print(f"stored in {path}")
    if any(cell.problems for cell in results.cells):
        again = f"hybrid bench matrix --resume {path}"
        console.print(f"to measure again what was excluded: {again}", soft_wrap=True)
    if html is not None:
        _write_html(results, html)
    if len(results.cells) < results.profile.cells:
        raise SystemExit(INTERRUPTED)


def _profile(
    name: str,
    io_workers: int,
    cpu_pool: int,
    scenario: tuple[str, ...],
    topology: tuple[str, ...],
    blocks: int,
    seed: int,
) -> Profile:
    from dataclasses import replace

    from hybrid.bench.matrix.run import profile

    wanted = profile(name, io_workers, cpu_pool)
    known_rows, known_columns = wanted.scenarios, tuple(t.key for t in wanted.topologies)
    for kind, asked, known in (
        ("scenario", scenario, known_rows),
        ("topology", topology, known_columns),
    ):
        unknown = set(asked) - set(known)
        if unknown:
            raise click.UsageError(f"no {kind} {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = {each for each in known_columns if not topology or each in topology}
    return replace(
        wanted,
        scenarios=tuple(s for s in known_rows if not scenario or s in scenario),
        topologies=tuple(t for t in wanted.topologies if t.key in chosen),
        unlimited=tuple(t for t in wanted.unlimited if t.limited_key in chosen),
        blocks=blocks or wanted.blocks,
        seed=seed,
    )


def _measure(
    console: Any, wanted: Profile | None, resumed: Path | None, out: Path
) -> tuple[Results | None, Path | None]:
    """Run the matrix under a progress bar; an interrupt keeps what there is."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Left

    from hybrid.bench.load.generator import LoadGenerator
    from hybrid.bench.matrix.run import default_path, load, run, save, start
    from hybrid.bench.server.served import ServerFailed

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Left())
    try:
        results = load(resumed) if resumed else None
    except ValueError as ex:
        raise click.UsageError(str(ex)) from None
    if results is not None:  # what was excluded gets another chance
        results.cells = [cell for cell in results.cells if not cell.problems]
    path = resumed
    try:
        with LoadGenerator() as generator, Progress(*columns, console=console) as progress:
            bar = progress.add_task("how long a job takes alone", total=None)
            if results is None:
                assert wanted is not None
                results = start(wanted, generator)
            path = path or (out if out.suffix == ".json" else default_path(results, out))
            done = len(results.cells)
            progress.update(bar, total=results.profile.cells - done)
            for cell in run(results, generator):
                save(results, path)
                label = f"block {cell.block + 1}, {cell.topology}: {cell.scenario}"
                progress.update(bar, advance=1, description=label)
    except KeyboardInterrupt:
        console.print("interrupted: reporting what was measured so far", style="yellow")
    except ServerFailed as ex:
        raise click.ClickException(str(ex)) from None
    return results, path


def _write_html(results: Results, path: Path) -> None:
    from hybrid.bench.report.html import page

    path.write_text(page(results))
    click.echo(f"report in {path}")


@click.command(
    epilog="\b\nhybrid bench report benchmarks/results/matrix-quick-….json --html report.html"
)
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--html", type=click.Path(path_type=Path), help="file for a self-contained page")
@click.option("--svg", type=click.Path(path_type=Path), help="file for a picture of the matrix")
@click.option(
    "--readme",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Markdown file to put verdict and picture (--svg) into, between <!-- matrix --> markers",
)
def report(results: Path, html: Path | None, svg: Path | None, readme: Path | None) -> None:
    """Show the stored RESULTS of a matrix."""
    from rich.console import Console

    from hybrid.bench.matrix.run import load
    from hybrid.bench.report.front_page import between_markers, front_page, heat_map
    from hybrid.bench.report.text import print_matrix

    try:
        found = load(results)
    except ValueError as ex:
        raise click.UsageError(str(ex)) from None
    print_matrix(Console(), found)
    if html is not None:
        _write_html(found, html)
    if svg is not None:
        svg.write_text(heat_map(found) + "\n")
    if readme is not None:
        picture = svg or results.with_suffix(".svg")
        readme.write_text(between_markers(readme.read_text(), front_page(found, results, picture)))
