"""`hybrid bench`: load, calibrate, matrix, report.

Imports numpy and the rest only when a command runs: `hybrid --help` stays quick,
and `hybrid serve` must limit the BLAS threads before numpy is imported.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from hybrid.bench.matrix import Profile, Results
    from hybrid.bench.plan import LoadPlan

RESULTS = Path("benchmarks/results")


@click.group(
    epilog=(
        "\b\nhybrid bench load http://127.0.0.1:8000/hello --rate 2000\n"
        "hybrid bench matrix --quick --html report.html\n"
    )
)
def bench() -> None:
    """Measure hybrid, or any HTTP server, honestly."""


@bench.command(
    epilog=(
        "\b\nhybrid bench load http://127.0.0.1:8000/io/wait?ms=20 --rate 500\n"
        "hybrid bench load http://127.0.0.1:8000/hello --concurrency 64\n"
    )
)
@click.argument("url")
@click.option("--rate", type=float, default=100.0, show_default=True, help="Requests/s offered.")
@click.option("--concurrency", type=int, default=0, help="Closed loop of so many clients instead.")
@click.option(
    "--arrivals",
    type=click.Choice(["poisson", "constant", "burst", "trace"]),
    default="poisson",
    show_default=True,
)
@click.option("--burst", type=int, default=10, show_default=True, help="Requests per burst.")
@click.option(
    "--trace",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of start times in seconds, one per line.",
)
@click.option("--duration", type=float, default=5.0, show_default=True, help="Seconds.")
@click.option("--warmup", type=float, default=0.5, show_default=True, help="Seconds left out.")
@click.option("--connections", type=int, default=64, show_default=True, help="Opened beforehand.")
@click.option("--max-connections", type=int, default=1024, show_default=True)
@click.option(
    "--reconnect-every", type=int, default=0, help="Requests per connection; 0: no limit."
)
@click.option("--timeout", type=float, default=10.0, show_default=True, help="Seconds per request.")
@click.option("--method", default="GET", show_default=True)
@click.option("--header", multiple=True, metavar="'NAME: VALUE'")
@click.option(
    "--body",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File sent as the body.",
)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Every request's row, as .npz.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON.")
def load(url: str, out: Path | None, as_json: bool, **options: Any) -> None:
    """Offer load to URL: an open loop, so a stall of the server is not hidden."""
    from rich.console import Console

    from hybrid.bench.generator import LoadFailed, LoadGenerator
    from hybrid.bench.report_text import print_load

    try:
        plan = _plan(url, **options)
        with LoadGenerator() as generator:
            result = generator.run(plan)
    except (LoadFailed, ValueError) as ex:
        raise click.UsageError(str(ex)) from None
    if out is not None:
        result.records.save(out)
    if as_json:
        click.echo(json.dumps(result.summary, indent=2))
    else:
        print_load(Console(), result.summary)


def _plan(url: str, *, rate: float, header: tuple[str, ...], **options: Any) -> LoadPlan:
    from hybrid.bench.plan import LoadPlan, Stream, Target

    target = Target.from_url(url)
    trace, body = options.pop("trace"), options.pop("body")
    times = tuple(float(line) for line in trace.read_text().split()) if trace else ()
    stream = Stream(
        "load",
        target.path,
        rate,
        method=options.pop("method"),
        headers=tuple(_header(each) for each in header),
        body_file=str(body.resolve()) if body else "",
        arrivals="trace" if trace else options.pop("arrivals"),
        burst=options.pop("burst"),
        trace=times,
    )
    options.pop("arrivals", None)
    return LoadPlan(target.host, target.port, (stream,), **options)


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise ValueError(f"a header is 'NAME: VALUE', got {line!r}")
    return name.strip(), value.strip()


@bench.command(epilog="\b\nhybrid bench calibrate")
@click.option("--seconds", type=float, default=1.0, show_default=True, help="Of each step.")
@click.option("--json", "as_json", is_flag=True)
def calibrate(seconds: float, as_json: bool) -> None:
    """Find the generator's own ceiling and CPU per request."""
    from rich.console import Console

    from hybrid.bench.calibrate import calibrate as measure
    from hybrid.bench.report_text import print_calibration

    found = measure(seconds)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2))
    else:
        print_calibration(Console(), found)


@bench.command(epilog="\b\nhybrid bench matrix --quick --html report.html")
@click.option("--quick", "name", flag_value="quick", help="Three blocks, about 10 minutes.")
@click.option("--ci", "name", flag_value="ci", help="Two rows, three columns, under a minute.")
@click.option(
    "--full", "name", flag_value="full", default="full", help="Five blocks, more than an hour."
)
@click.option("--io-workers", type=int, default=0, help="Of the clusters; 0: as many as CPUs.")
@click.option("--cpu-pool", type=int, default=0, help="Slots per worker; 0: as many as CPUs.")
@click.option("--scenario", multiple=True, help="Only these rows (repeatable).")
@click.option("--topology", multiple=True, help="Only these columns (repeatable).")
@click.option("--blocks", type=int, default=0, help="Repetitions; 0: the profile's.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
@click.option("--html", type=click.Path(path_type=Path), help="Also write this report.")
def matrix(out: Path, html: Path | None, **wishes: Any) -> None:
    """Measure which topology wins which scenario on this machine.

    Ctrl-C ends it early; what was measured is reported and stored.
    """
    from rich.console import Console

    from hybrid.bench.report_text import print_matrix

    console = Console()
    results = _measure_matrix(console, _profile(**wishes))
    if results is None or not results.cells:
        raise click.ClickException("interrupted before anything was measured")
    stored = _store(results, out)
    print_matrix(console, results)
    console.print(f"stored in {stored}")
    if html is not None:
        _write_html(results, html)


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

    from hybrid.bench.matrix import profile

    wanted = profile(name, io_workers, cpu_pool)
    known_rows, known_columns = wanted.scenarios, tuple(t.key for t in wanted.topologies)
    for kind, asked, known in (
        ("scenario", scenario, known_rows),
        ("topology", topology, known_columns),
    ):
        unknown = set(asked) - set(known)
        if unknown:
            raise click.UsageError(f"no {kind} {', '.join(unknown)}; there are {', '.join(known)}")
    return replace(
        wanted,
        scenarios=tuple(s for s in known_rows if not scenario or s in scenario),
        topologies=tuple(t for t in wanted.topologies if not topology or t.key in topology),
        blocks=blocks or wanted.blocks,
        seed=seed,
    )


def _measure_matrix(console: Any, wanted: Profile) -> Results | None:
    """Run the matrix under a progress bar; an interrupt keeps what there is."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Left

    from hybrid.bench.generator import LoadGenerator
    from hybrid.bench.matrix import run, start
    from hybrid.bench.server import ServerFailed

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Left())
    results = None
    try:
        with LoadGenerator() as generator, Progress(*columns, console=console) as progress:
            bar = progress.add_task("how long a job takes alone", total=wanted.cells)
            results = start(wanted, generator)
            for cell in run(results, generator):
                label = f"block {cell.block + 1}, {cell.topology}: {cell.scenario}"
                progress.update(bar, advance=1, description=label)
    except KeyboardInterrupt:
        console.print("interrupted: reporting what was measured so far", style="yellow")
    except ServerFailed as ex:
        raise click.ClickException(str(ex)) from None
    return results


def _store(results: Results, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    machine = results.machine
    stamp = machine["when"].replace(":", "").replace("-", "")
    path = folder / f"matrix-{results.profile.name}-{stamp}-{machine['commit'] or 'wheel'}.json"
    path.write_text(json.dumps(results.to_dict(), indent=1, allow_nan=False) + "\n")
    return path


def _write_html(results: Results, path: Path) -> None:
    from hybrid.bench.report_html import page

    path.write_text(page(results))
    click.echo(f"report in {path}")


@bench.command(
    epilog="\b\nhybrid bench report benchmarks/results/matrix-quick-….json --html report.html"
)
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--html", type=click.Path(path_type=Path), help="One self-contained page.")
@click.option("--svg", type=click.Path(path_type=Path), help="The matrix alone, as a picture.")
def report(results: Path, html: Path | None, svg: Path | None) -> None:
    """Show stored RESULTS again."""
    from rich.console import Console

    from hybrid.bench.matrix import Results
    from hybrid.bench.report_html import heat_map
    from hybrid.bench.report_text import print_matrix

    found = Results.from_dict(json.loads(results.read_text()))
    print_matrix(Console(), found)
    if html is not None:
        _write_html(found, html)
    if svg is not None:
        svg.write_text(heat_map(found))
