from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hybrid.bench.server.fingerprint import fingerprint, one_line
from hybrid.bench.server.procfs import session_members, usage
from hybrid.bench.server.served import NULL_SERVER, Server, ServerFailed, leashed

# Ignores TERM and has a child in its session that does, too.
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.fork()
print("listening on http://127.0.0.1:1", file=sys.stderr, flush=True)
time.sleep(60)
"""


def wait_until(condition: object, deadline: float = 5.0) -> None:
    end = time.monotonic() + deadline
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "condition not met in time"
        time.sleep(0.01)


def test_a_server_is_ready_inside_and_gone_after() -> None:
    with Server(NULL_SERVER) as server:
        pid = server.pid
        assert server.port > 0
        assert session_members(pid) == [pid]
        assert server.usage(memory=True).pss > 1_000_000

    assert session_members(pid) == []


def test_a_server_that_ignores_term_is_ended_with_its_children() -> None:
    with Server([sys.executable, "-c", STUBBORN], stop_timeout=0.2) as server:
        pid = server.pid
        wait_until(lambda: len(session_members(pid)) == 2)

    assert session_members(pid) == []


def test_a_server_that_dies_at_boot_shows_its_log() -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such option')"]

    with pytest.raises(ServerFailed, match="exited with 1:\nno such option"), Server(command):
        pass


def test_a_server_that_never_gets_ready_is_given_up() -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]

    with pytest.raises(ServerFailed, match="not ready within"), Server(command, boot_timeout=0.3):
        pass


def test_a_server_does_not_outlive_the_program_that_measures_it(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from hybrid.bench.server.served import NULL_SERVER, Server\n"
        "with Server(NULL_SERVER) as s:\n"
        "    print(s.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as measuring:
        assert measuring.stdout is not None
        pid = int(measuring.stdout.readline())
        measuring.send_signal(signal.SIGKILL)

    wait_until(lambda: session_members(pid) == [])


def test_cpu_time_of_a_tree_includes_its_dead() -> None:
    # The child burns, is waited for, and only then does the first process report.
    script = (
        "import os, sys, time\n"
        "pid = os.fork()\n"
        "end = time.process_time() + 0.1\n"
        "while pid == 0 and time.process_time() < end: pass\n"
        "if pid == 0: os._exit(0)\n"
        "os.wait(); print(flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        leashed([sys.executable, "-c", script]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = usage(process.pid)
        assert process.stdin is not None
        process.stdin.close()

    assert found.cpu >= 0.09
    assert found.processes == 1


def test_the_fingerprint_names_machine_and_versions() -> None:
    found = fingerprint()

    assert found["packages"]["numpy"]
    assert found["python"] in one_line(found)
    assert len(found["cpus"]) == len(os.sched_getaffinity(0))
