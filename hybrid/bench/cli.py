"""`hybrid bench`: load and calibrate; matrix, report and peers are in modules of their own.

Imports numpy and the rest only when a command runs: `hybrid --help` stays quick,
and `hybrid serve` must limit the BLAS threads before numpy is imported.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybrid.bench.matrix_cli import matrix, report
from hybrid.bench.peers_cli import peers

if TYPE_CHECKING:
    from hybrid.bench.plan import LoadPlan


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
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'")
@click.option(
    "--body",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File sent as the body.",
)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Every request's row, as .npz.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON.")
def load(url: str, out: Path | None, as_json: bool, **options: Any) -> None:
    """Offer load to URL: an open loop, so a stall of the server is not hidden.

    Ctrl-C ends it early and shows what was measured.
    """
    from rich.console import Console

    from hybrid.bench.fingerprint import fingerprint
    from hybrid.bench.generator import LoadFailed, LoadGenerator
    from hybrid.bench.report_text import print_load

    try:
        plan = _plan(url, **options)
        plan.check()
        with LoadGenerator() as generator:
            try:
                result = generator.run(plan)
            except KeyboardInterrupt:
                result = generator.interrupt()
    except (LoadFailed, ValueError) as ex:
        raise click.UsageError(str(ex)) from None
    if out is not None:
        result.records.save(out)
    if as_json:
        click.echo(json.dumps({"machine": fingerprint(), **result.summary}, indent=2))
    else:
        print_load(Console(), result.summary)
    if not result.summary["answered"]:
        raise SystemExit(1)


def _plan(url: str, *, rate: float, headers: tuple[str, ...], **options: Any) -> LoadPlan:
    from hybrid.bench.plan import LoadPlan, Stream, Target, header

    target = Target.from_url(url)
    trace, body = options.pop("trace"), options.pop("body")
    times = tuple(float(line) for line in trace.read_text().split()) if trace else ()
    stream = Stream(
        "load",
        target.path,
        rate,
        method=options.pop("method"),
        headers=tuple(header(each) for each in headers),
        body_file=str(body.resolve()) if body else "",
        arrivals="trace" if trace else options.pop("arrivals"),
        burst=options.pop("burst"),
        trace=times,
    )
    options.pop("arrivals", None)
    return LoadPlan(target.host, target.port, (stream,), **options)


@bench.command(epilog="\b\nhybrid bench calibrate")
@click.option("--seconds", type=float, default=1.0, show_default=True, help="Of each step.")
@click.option("--json", "as_json", is_flag=True)
def calibrate(seconds: float, as_json: bool) -> None:
    """Find the generator's own ceiling and CPU per request."""
    from rich.console import Console

    from hybrid.bench.calibrate import calibrate as measure
    from hybrid.bench.fingerprint import fingerprint
    from hybrid.bench.report_text import print_calibration

    found = measure(seconds)
    if as_json:
        click.echo(json.dumps({"machine": fingerprint(), **found.to_dict()}, indent=2))
    else:
        print_calibration(Console(), found)


for command in (matrix, report, peers):
    bench.add_command(command)
