"""From the command line to the banner, or to one clear line."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.conftest import Server

Serve = Callable[..., Server]


def run(*args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hybrid", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=cwd)


def test_the_banner_names_address_topology_and_time(serve: Serve) -> None:
    server = serve("--io-workers", "3", "--cpu-pool", "2", "--cpu-limit", "2")
    assert "3 I/O workers × 2 slots, at most 2 jobs at once on a budget of" in server.log
    assert server.wait_for_log(r"ready after \d+\.\d\d s")
    assert len(server.workers()) == 3
    assert "listening on" in server.lines[0]  # an ordinary start says nothing else


def test_every_worker_answers_on_the_one_port(serve: Serve) -> None:
    server = serve("--io-workers", "2", "--cpu-pool", "1")
    seen = {server.get("/hello")[1]["x-worker"] for _ in range(200)}
    assert seen == {"1", "2"}


def test_an_address_in_use_is_exit_1_and_one_line(serve: Serve) -> None:
    server = serve("--io-workers", "1", "--cpu-pool", "0")
    result = run("serve", "--bind", f"127.0.0.1:{server.port}")
    assert result.returncode == 1
    assert "in use" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_an_unimportable_application_is_exit_4_with_its_traceback_once(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import math\nmath.nothing()\n")
    result = run("serve", "broken:app", "--bind", "127.0.0.1:0", "-w", "4", cwd=tmp_path)
    assert result.returncode == 4
    assert result.stderr.count("math.nothing()") == 1
    assert "importlib" not in result.stderr


@pytest.mark.parametrize("text", ["chr(0x6F22) * 50_000", "chr(27) * 50_000", "chr(0xDC80)"])
def test_an_import_error_is_reported_whatever_its_characters(tmp_path: Path, text: str) -> None:
    (tmp_path / "broken.py").write_text(f"raise RuntimeError({text} + ' is the reason')")
    result = run("serve", "broken:app", "--bind", "127.0.0.1:0", "-w", "1", cwd=tmp_path)
    assert result.returncode == 4
    assert "is the reason" in result.stderr


def test_an_application_that_does_not_exist_is_named_without_a_traceback() -> None:
    result = run("serve", "nowhere:app", "--bind", "127.0.0.1:0")
    assert result.returncode == 4
    assert "no module 'nowhere'" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "args",
    [("--io-workers", "0"), ("--cpu-lane", "gpu"), ("--max-body", "much"), ("--nonsense",)],
)
def test_a_bad_option_is_exit_2(args: tuple[str, ...]) -> None:
    result = run("serve", *args)
    assert result.returncode == 2
    assert "Usage" in result.stderr


def test_a_worker_that_is_never_ready_ends_the_primary_with_3(tmp_path: Path) -> None:
    (tmp_path / "refuses.py").write_text(
        "async def app(scope, receive, send):\n"
        "    await receive()\n"
        "    await send({'type': 'lifespan.startup.failed', 'message': 'no database'})\n"
    )
    result = run("serve", "refuses:app", "--bind", "127.0.0.1:0", "-w", "2", cwd=tmp_path)
    assert result.returncode == 3
    assert result.stderr.count("no database") == 1


def test_a_file_sets_options_and_the_command_line_wins(tmp_path: Path) -> None:
    file = tmp_path / "hybrid.toml"
    file.write_text('io-workers = 3\ncpu-pool = 1\ngraceful-timeout = "5m"\n')
    result = run("serve", "-c", str(file), "--cpu-pool", "2", "--print-config")
    lines = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line}
    assert lines["io-workers"][1:] == ["3", "configuration", "file"]
    assert lines["cpu-pool"][1:] == ["2", "command", "line"]
    assert lines["graceful-timeout"][1] == "5m"


def test_an_unknown_key_in_the_file_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "hybrid.toml"
    file.write_text("io-wrokers = 3\n")
    result = run("serve", "-c", str(file), "--check-config")
    assert result.returncode == 2
    assert "io_wrokers" in result.stderr


@pytest.mark.parametrize(
    ("line", "flag"),
    [
        ("cpu-deadline = nan", "--cpu-deadline"),
        ("graceful-timeout = -5", "--graceful-timeout"),
        ("max-body = -1", "--max-body"),
        ("max-body = true", "max-body"),
        ("io-workers = 1.5", "--io-workers"),
        ("io-workers = true", "io-workers"),
        ("io-workers = [1]", "io-workers"),
        ("pid-file = [5]", "pid-file"),
        ("factory = 7", "factory"),
        ("bind = {a = 1}", "bind"),
        ("unix-mode = 660", "unix-mode"),
        ("print-config = true", "print_config"),
    ],
)
def test_nonsense_in_the_file_is_refused_with_its_key(line: str, flag: str, tmp_path: Path) -> None:
    file = tmp_path / "hybrid.toml"
    file.write_text(line)
    result = run("serve", "-c", str(file), "--check-config")
    assert result.returncode == 2, result
    assert flag in result.stderr
    assert "Traceback" not in result.stderr


def test_one_word_in_the_file_is_enough_for_a_flag_that_takes_several(tmp_path: Path) -> None:
    file = tmp_path / "hybrid.toml"
    file.write_text('bind = "127.0.0.1:8123"\nforwarded-allow-ips = ["::1", "10.0.0.1"]\n')
    result = run("serve", "-c", str(file), "--print-config")
    assert result.returncode == 0, result
    assert "127.0.0.1:8123" in result.stdout
    assert "::1,10.0.0.1" in result.stdout


def test_a_grace_period_of_months_is_only_a_number(serve: Serve) -> None:
    server = serve("--io-workers", "1", "--cpu-pool", "0", "--graceful-timeout", "90d")
    server.signal(signal.SIGTERM)
    assert server.wait_exit() == 0, server.log


def test_a_certificate_that_is_not_there_fails_the_check() -> None:
    result = run("serve", "--certfile", "nowhere.pem", "--check-config")
    assert result.returncode == 1
    assert "nowhere.pem" in result.stderr


def test_the_configuration_can_be_checked_without_serving() -> None:
    result = run("serve", "--check-config")
    assert result.returncode == 0
    assert "valid" in result.stdout


def test_check_takes_the_options_of_serve_and_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import math\nmath.nothing()\n")
    assert run("check", "--io-workers", "3").returncode == 0
    assert run("check", "--io-workers", "0").returncode == 2
    broken = run("check", "broken:app", cwd=tmp_path)
    assert broken.returncode == 4
    assert "math.nothing()" in broken.stderr


def test_help_shows_examples_and_the_signals() -> None:
    text = run("--help").stdout
    assert "TTIN, TTOU" in text
    assert "hybrid serve --io-workers 8 --cpu-pool 4" in text
    assert "Examples:" in run("serve", "--help").stdout
    commands = re.findall(r"^  (\w+)  ", text.split("Commands:")[1], re.MULTILINE)
    assert {"serve", "status", "bench"} <= set(commands)
    for command in commands:
        assert f"hybrid {command}" in text.split("Signals")[0]


def test_a_pid_file_that_is_something_else_is_exit_1_and_one_line(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_text("precious")
    result = run("serve", "--bind", "127.0.0.1:0", "--pid-file", str(file))
    assert result.returncode == 1
    assert "is not a pid file" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert file.read_text() == "precious"


def test_a_body_over_the_limit_is_413_whether_declared_or_not(serve: Serve) -> None:
    server = serve("--io-workers", "1", "--cpu-pool", "0", "--max-body", "1k")
    assert server.request("POST", "/io/echo", b"x" * 1024)[0] == 200
    assert server.request("POST", "/io/echo", b"x" * 1025)[0] == 413
    connection = server.connection()
    connection.request(
        "POST",
        "/io/echo",
        iter([b"x" * 600] * 4),
        encode_chunked=True,
        headers={"Transfer-Encoding": "chunked"},
    )
    assert connection.getresponse().status == 413
    connection.close()
