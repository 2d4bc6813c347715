from __future__ import annotations

import json
import re
import shutil
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from rich.console import Console

from hybrid.bench.cli import bench
from hybrid.bench.report.front_page import heat_map
from hybrid.bench.report.html import page
from hybrid.bench.report.text import print_matrix
from hybrid.bench.server.served import Server
from tests.bench.made_up import results

RATES = {"1x0": 100.0, "1xT": 90.0, "1xP": 80.0, "Nx0": 200.0, "NxT": 150.0, "NxP": 140.0}


@pytest.mark.parametrize("scenario", ["io", "cpu", "restart"])
def test_the_report_is_one_page_that_needs_no_network(scenario: str) -> None:
    html = page(results(RATES, scenario=scenario))

    assert not re.search(r"(src|href)\s*=|@import|url\(", html)
    assert "On 2 CPUs" in html
    assert len(html) < 500_000
    for picture in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        ElementTree.fromstring(picture)


def test_the_heat_map_names_every_topology_and_the_article() -> None:
    picture = heat_map(results(RATES))

    assert all(key in picture for key in RATES)
    assert "article: clustering" in picture


def test_the_terminal_report_shows_verdicts_and_machine() -> None:
    console = Console(file=StringIO(), width=200)

    print_matrix(console, results(RATES))

    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "cluster only wins" in said
    assert "numpy" in said


def test_stored_results_are_shown_again(tmp_path: Path) -> None:
    stored = tmp_path / "results.json"
    stored.write_text(json.dumps(results(RATES).to_dict()))
    html, svg = tmp_path / "r.html", tmp_path / "m.svg"

    done = CliRunner().invoke(
        bench, ["report", str(stored), "--html", str(html), "--svg", str(svg)]
    )

    assert done.exit_code == 0, done.output
    assert html.stat().st_size > 5_000
    assert svg.read_text().startswith("<svg")


def test_load_is_usable_against_any_server(null_server: Server, tmp_path: Path) -> None:
    url = f"http://{null_server.host}:{null_server.port}/hello"
    columns = tmp_path / "rows.npz"
    options = ["--rate", "200", "--duration", "0.5", "--warmup", "0.1", "--out", str(columns)]

    done = CliRunner().invoke(bench, ["load", url, *options, "--json"])

    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["all"]["failed"] == 0
    assert columns.exists()


def test_load_prints_a_table(null_server: Server) -> None:
    url = f"http://{null_server.host}:{null_server.port}/hello"

    done = CliRunner().invoke(bench, ["load", url, "--concurrency", "4", "--duration", "0.7"])

    assert done.exit_code == 0, done.output
    assert "closed loop" in done.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--header", "novalue"], "NAME: VALUE"),
        (["--rate", "0"], "rate above 0"),
        (["--rate", "nan"], "rate above 0"),
        (["--rate", "1e9"], "too many"),
        (["--duration", "0"], "above 0"),
        (["--timeout", "-1"], "above 0"),
        (["--warmup", "9"], "leaves nothing"),
        (["--concurrency", "-1"], "count"),
        (["--max-connections", "0"], "at least 1"),
        (["--arrivals", "trace"], "--trace FILE"),
        (["--arrivals", "burst", "--burst", "0"], "at least 1"),
    ],
)
def test_an_impossible_load_is_a_usage_error(options: list[str], message: str) -> None:
    done = CliRunner().invoke(bench, ["load", "http://127.0.0.1:9/", *options])

    assert done.exit_code == 2
    assert message in done.output


def test_a_load_that_nobody_answered_is_no_success() -> None:
    options = ["--duration", "0.2", "--warmup", "0", "--timeout", "1"]

    done = CliRunner().invoke(bench, ["load", "http://127.0.0.1:9/", *options])

    assert done.exit_code == 1
    assert "requests failed" in done.output


@pytest.mark.parametrize(
    "arguments",
    [["matrix", "--blocks", "-1"], ["matrix", "--io-workers", "-3"]],
)
def test_a_negative_effort_is_a_usage_error(arguments: list[str]) -> None:
    assert CliRunner().invoke(bench, arguments).exit_code == 2


@pytest.mark.parametrize("command", [["matrix", "--resume"], ["report"]])
def test_a_file_that_holds_no_results_is_named(command: list[str], tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text("abc")

    done = CliRunner().invoke(bench, [*command, str(other)])

    assert done.exit_code == 2
    assert "holds no results" in done.output


def test_calibrate_prints_the_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)  # wrk has a test of its own

    done = CliRunner().invoke(bench, ["calibrate", "--seconds", "0.1"])

    assert done.exit_code == 0, done.output
    assert "ceiling" in done.output


def test_an_unknown_row_is_a_usage_error() -> None:
    done = CliRunner().invoke(bench, ["matrix", "--ci", "--scenario", "luck"])

    assert done.exit_code == 2
    assert "there are io, cpu" in done.output


@pytest.mark.parametrize("command", ["load", "calibrate", "matrix", "report"])
def test_every_command_shows_an_example(command: str) -> None:
    done = CliRunner().invoke(bench, [command, "--help"])

    assert f"hybrid bench {command}" in done.output
