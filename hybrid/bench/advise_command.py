"""`hybrid advise`: measure an application, simulate topologies, say which fits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

    from hybrid.bench.advise.advise import Advice, Verified
    from hybrid.bench.advise.measure import Endpoint


@click.command(
    epilog=(
        "\b\nhybrid advise workloads.app:app --get '/io/wait?ms=20' --get /cpu/matmul\n"
        "hybrid advise app:app --get /x --post /y=@body.npy --verify\n"
        "hybrid advise --job mymodule:function\n"
    )
)
@click.argument("target", required=False)
@click.option("--get", "gets", multiple=True, metavar="PATH", help="endpoint to GET (repeatable)")
@click.option(
    "--post",
    "posts",
    multiple=True,
    metavar="PATH=@FILE",
    help="endpoint to POST the body in FILE to (repeatable)",
)
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="header line of every request (repeatable)",
)
@click.option(
    "--job",
    "jobs",
    multiple=True,
    metavar="MODULE:FUNCTION",
    help="function to measure without a server (repeatable)",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0.0),
    default=0.0,
    metavar="N",
    help="requests per second to all endpoints; 0: as many as keep half the CPUs busy",
)
@click.option(
    "--objective",
    type=click.FloatRange(min=0.0, min_open=True),
    default=0.02,
    show_default=True,
    metavar="SECONDS",
    help="I/O delay that 99 % of the requests stay below",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.05),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="duration of each measurement; --verify measures five times as long",
)
@click.option(
    "--verify",
    "check",
    is_flag=True,
    help="measure the best two topologies and the rule of thumb",
)
def advise(
    target: str | None,
    gets: tuple[str, ...],
    posts: tuple[str, ...],
    headers: tuple[str, ...],
    jobs: tuple[str, ...],
    rate: float,
    objective: float,
    seconds: float,
    check: bool,
) -> None:
    """Find the topology that fits your endpoints or jobs, and say why."""
    from rich.console import Console

    from hybrid.bench.advise import advise as advising
    from hybrid.bench.advise.measure import busy_neighbours, measure_app
    from hybrid.bench.matrix.gates import crowded
    from hybrid.errors import HybridError

    endpoints = _endpoints(gets, posts, headers)
    if bool(jobs) == bool(target and endpoints):
        raise click.UsageError("name an application and its endpoints (--get, --post), or --job")
    others = busy_neighbours()
    try:
        if jobs:
            measured = advising.functions_only(jobs, seconds)
            served = advising.serve_functions(jobs)
        else:
            measured = measure_app(str(target), endpoints, seconds)
            served = advising.Served(str(target), endpoints)
        advice = advising.advise(measured, rate, objective)
        console = Console()
        print_advice(console, advice, target or "your.app:app")
        for complaint in crowded(max(others, busy_neighbours())):
            console.print(
                f"⚠ {complaint} during the measurement; repeat it on a quiet machine",
                style="yellow",
            )
        if check:
            print_verified(console, advising.verify(advice, served, 5.0 * seconds))
    except HybridError as ex:
        raise click.ClickException(str(ex)) from None


def _endpoints(
    gets: tuple[str, ...], posts: tuple[str, ...], headers: tuple[str, ...]
) -> tuple[Endpoint, ...]:
    from pathlib import Path

    from hybrid.bench.advise.measure import Endpoint
    from hybrid.bench.load.plan import header

    try:
        sent = tuple(header(line) for line in headers)
    except ValueError as ex:
        raise click.UsageError(str(ex)) from None
    found = [Endpoint("GET", path, headers=sent) for path in gets]
    for each in posts:
        path, at, file = each.rpartition("=@")
        if not at or not Path(file).is_file():
            raise click.UsageError(f"--post takes PATH=@FILE with a file that exists, not {each!r}")
        found.append(Endpoint("POST", path, str(Path(file).resolve()), sent))
    return tuple(found)


def print_advice(console: Console, advice: Advice, target: str) -> None:
    """Print what was measured, what was simulated, and the advice."""
    from hybrid.bench.advise.advise import sentences
    from hybrid.bench.report.text import plain_table

    names = ("rate/s", "loop ms", "job ms", "job C²", "two threads", "bytes")
    title = "Measured, one request at a time"
    costs = plain_table(title, "endpoint", *names, left=("endpoint",))
    for cost, rate in zip(advice.measured.costs, advice.rates, strict=True):
        job = (f"{1e3 * cost.job:.2f}", f"{cost.scv:.2f}", f"{cost.speedup:.2f} ×")
        costs.add_row(
            cost.name,
            f"{rate:.1f}",
            f"{1e3 * cost.loop:.3f}",
            *(job if cost.has_job else ("–", "–", "–")),
            str(cost.sent + cost.answered),
        )
    console.print(costs)
    figures = ("I/O delay p99", "job p99", "a loop", "CPUs", "memory")
    table = plain_table("\nSimulated, best first", "topology", *figures, left=("topology",))
    for each in (*advice.ranked[:5], advice.thumb):
        table.add_row(
            each.candidate.short,
            _ms(each.io_p99),
            _ms(each.job_p99),
            f"{each.loop_load:.0%}",
            f"{each.cpu_load:.0%}",
            f"{each.memory / 1e6:.0f} MB",
        )
    console.print(table)
    for line in sentences(advice, target):
        console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)


def print_verified(console: Console, found: list[Verified]) -> None:
    """Print forecasts next to what the real server did."""
    from hybrid.bench.report.text import plain_table

    names = ("I/O predicted", "measured", "job predicted", "measured", "failed")
    title = "\nPredicted against measured (p99, or the highest the samples allow)"
    table = plain_table(title, "topology", *names, left=("topology",))
    for each in found:
        table.add_row(
            each.forecast.candidate.short,
            _ms(each.forecast.io_p99),
            _ms(each.io_p99),
            _ms(each.forecast.job_p99),
            _ms(each.job_p99),
            str(each.failed),
        )
    console.print(table)


def _ms(seconds: float) -> str:
    if math.isnan(seconds):
        return "–"
    return "∞" if math.isinf(seconds) else f"{1e3 * seconds:.1f} ms"
