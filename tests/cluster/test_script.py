"""`hybrid.cluster.Primary`: a script that is its own primary."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import time
from pathlib import Path

import psutil
import pytest

from hybrid.cluster import cpu_budget
from hybrid.core.workers.ending import SAME_STOP
from tests.cluster.conftest import Run, Script, free_port, wait_until

FROM_NODE = Path(__file__).parent.parent.parent / "FROM_NODE.md"


def story(script: Script, worker: int) -> list[str]:
    names = "fork|online|listening|ready|drain|exit"
    return [found[1] for found in script.said(rf"({names}) {worker}(?: .*)?")]


def test_events_come_in_order_and_once_for_every_worker(run: Run) -> None:
    script = run("three_workers.py")
    wait_until(lambda: len(script.said(r"ready .*")) == 3, what=script.log)
    assert len(script.said("alive None starting")) == 3
    script.remember()
    script.signal(signal.SIGTERM)
    assert script.wait_exit() == 0
    expected = ["fork", "online", "listening", "ready", "drain", "exit"]
    for worker in (1, 2, 3):
        assert story(script, worker) == expected
    assert len(script.said(r"exit \d 0 None drained True True False")) == 3
    # Port 0 is one port, the same for everybody.
    assert len({found[1] for found in script.said(r"listening \d (.*)")}) == 1
    script.assert_gone()


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("nothing", "0 None finished False"),
        ("true", "0 None finished False"),
        ("a number", "42 None crashed False"),
        ("sys.exit", "42 None crashed False"),
        ("os._exit", "42 None crashed False"),
        ("an exception", "70 None crashed False"),
        ("SIGKILL", "None SIGKILL killed False"),
        ("SIGABRT", "None SIGABRT killed False"),
        ("a coroutine", "7 None crashed False"),
    ],
)
def test_an_exit_has_a_code_or_a_signal(run: Run, program: str, expected: str) -> None:
    script = run("one_program.py", program)
    assert script.wait_exit() == 0
    assert script.said(rf"exit 1 {expected} True False"), script.log
    assert len(script.said(r"exit .*")) == 1


def test_the_workers_of_a_killed_primary_are_gone(run: Run) -> None:
    script = run("killed_primary.py")
    script.wait_for_log("listening")
    script.wait_for_log("spins")
    assert len(script.remember()) == 2
    script.signal(signal.SIGKILL)
    script.wait_exit()
    script.assert_gone()


def test_an_exception_that_leaves_run_ends_everybody(run: Run) -> None:
    script = run("exits_in_callback.py")
    assert script.wait_exit() == 5
    script.assert_gone()


def test_disconnect_lets_a_request_finish_and_kill_does_not(run: Run) -> None:
    script = run("disconnect_and_kill.py")
    script.wait_for_log("ready 1")
    assert script.get("/")[2] == b"done"
    script.wait_for_log("ready 2")
    with pytest.raises((OSError, http.client.HTTPException)):
        script.get("/")
    assert script.wait_exit() == 0
    assert script.said("exit 1 0 None drained True True False")
    assert script.said("exit 2 None SIGKILL killed False True False")


def test_what_is_asked_of_dead_and_missing_workers_is_harmless(run: Run) -> None:
    script = run("dead_and_missing.py")
    assert script.wait_exit() == 0, script.log
    assert len(script.said("refused: there is no ready worker 1")) == 2


def test_a_cluster_can_be_started_again_on_its_port(run: Run) -> None:
    script = run("started_again.py")
    assert script.wait_exit() == 0
    rounds = script.said(r"round (\d) 0 (\d+)")
    assert [found[1] for found in rounds] == ["0", "1", "2"], script.log
    assert rounds[1][2] == rounds[2][2], "descriptors"


def test_two_hundred_workers_later_the_primary_holds_what_it_held(run: Run) -> None:
    script = run("two_hundred_workers.py")
    assert script.wait_exit(60) == 0
    first, last = script.said(r"after (\d+) (\d+) (\d)")
    assert (first[2], first[3]) == (last[2], last[3])


def test_a_worker_in_an_endless_loop_can_be_killed_and_disconnect_has_an_end(
    run: Run,
) -> None:
    script = run("endless_loop.py")
    assert script.wait_exit() == 0
    assert script.said("exit 1 None SIGKILL killed False True False")
    assert script.said("exit 2 None SIGKILL killed True True False"), script.log


def test_a_term_of_its_own_makes_a_worker_leave_in_order(run: Run) -> None:
    script = run("term_of_its_own.py")
    assert script.wait_exit() == 0
    assert story(script, 1) == ["fork", "online", "ready", "drain", "exit"]
    # What came before the order to leave is done.
    assert [found[1] for found in script.said(r"did (\d)")] == ["0", "1", "2"]
    assert script.said("exit 1 0 None drained True True False")


def test_workers_that_cannot_start_do_not_burn_the_machine(run: Run) -> None:
    script = run("cannot_start.py")
    assert script.wait_exit() == 3
    assert 3 <= len(script.said("died 1")) <= 6, "later each time"
    assert "giving up" in script.log
    script.assert_gone()


def test_an_application_that_cannot_be_imported_says_why(run: Run) -> None:
    script = run("cannot_import.py")
    assert script.wait_exit() == 0
    assert script.said("exit 1 4 None crashed False True False")
    assert "there is no module 'nowhere'" in script.log


def test_an_address_in_use_is_an_error_of_the_script_and_another_try_may_succeed(
    run: Run,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        script = run("address_in_use.py", str(taken.getsockname()[1]))
        assert script.wait_exit() == 0
    assert script.said("ConfigError cannot listen on .*: the address is in use.*"), script.log
    assert script.said("listening")


def test_what_a_script_may_not_do_is_refused_with_the_reason(run: Run) -> None:
    script = run("refused.py")
    assert script.wait_exit() == 0, script.log
    assert script.said("ConfigError - a primary cannot fork inside an asyncio loop.*")
    assert script.said("ConfigError - there is no event 'disconect'.*")
    assert script.said("NotInCluster - only the primary forks.*")
    assert script.said("worker - nothing to serve on.*")


@pytest.mark.parametrize("policy", ["shared", "round-robin", "least-loaded"])
def test_connections_of_a_dead_worker_wait_for_the_next_one(
    run: Run,
    policy: str,
) -> None:
    script = run("dead_worker_waits.py", policy)
    pid = int(script.wait_for_log(r"listening (\d+)")[1])
    os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    status, headers, body = script.get("/")
    assert status == 200
    assert body.startswith(b"Hello from worker ")
    assert int(body.split()[-1]) != pid
    assert headers["x-worker"] == "1"
    script.signal(signal.SIGTERM)
    assert script.wait_exit() == 0


def test_a_stop_answers_what_waits_in_the_backlog(run: Run) -> None:
    script = run("backlog.py")
    script.wait_for_log("listening")
    first = script.in_background("GET", "/")
    script.wait_for_log("begun")
    # The worker blocks, three connections wait in the kernel.
    waiting = [script.in_background("GET", "/") for _ in range(3)]
    script.signal(signal.SIGTERM)
    for each in (first, *waiting):
        assert each.join().result is not None, each.error
        assert each.result is not None
        assert each.result[2] == b"answered"
    assert script.wait_exit() == 0


def test_every_worker_gets_its_own_environment_and_arguments(run: Run) -> None:
    script = run("own_environment.py")
    script.wait_exit()
    assert script.said("worker one mail None")
    assert script.said("worker two cron None")
    assert script.said("primary None")


def test_a_subprocess_of_a_worker_is_a_normal_program(run: Run) -> None:
    script = run("worker_subprocess.py")
    assert script.wait_exit() == 0
    assert script.said("slot 0 True"), script.log


def test_exactly_one_worker_leads_and_the_next_one_after_its_death(run: Run) -> None:
    script = run("leadership.py")
    first = int(script.wait_for_log(r"leads (\d+)")[1])
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: len(script.said(r"leads \d+")) == 2, what=script.log)
    second = int(script.said(r"leads (\d+)")[1][1])
    assert second != first
    os.kill(second, signal.SIGKILL)
    wait_until(lambda: len(script.said(r"leads \d+")) == 3, what=script.log)
    last = script.said(r"leads (\d+)")[2][1]
    wait_until(lambda: script.said(f"told {last} exit") or script.said(f"told {last} leader"))


def test_a_worker_has_a_pool_and_its_processes_end_with_it(run: Run) -> None:
    script = run("worker_pool.py")
    answer = script.get("/")
    assert answer[0] == 200, script.log
    member, worker = map(int, re.findall(rb"\d+", answer[2]))
    assert member != worker
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(member) and not psutil.pid_exists(worker))
    assert script.wait_exit() == 0


def program_of_the_readme() -> str:
    blocks = re.findall(r"```python\n(.*?)```", FROM_NODE.read_text(), re.DOTALL)
    (program,) = [block for block in blocks if "cluster.Primary" in block]
    return str(program)


def test_the_program_of_the_readme_does_what_the_readme_says(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = program_of_the_readme()
    assert len([line for line in program.splitlines() if line.strip()]) <= 30
    port = free_port()
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    path = tmp_path / "program.py"
    path.write_text(program.replace(":8000", f":{port}"))
    script = run(path)
    script.known_port = port

    # Every job is done once, by whoever was free.
    wait_until(lambda: len(script.said(r"worker \d+ has finished a job: .*")) == 10)
    done = script.said(r"worker (\d+) has finished a job: \{'job': (\d+), 'square': (\d+)\}")
    assert sorted((int(found[2]), int(found[3])) for found in done) == [
        (n, n * n) for n in range(10)
    ]
    assert {found[1] for found in done} <= {str(p.pid) for p in script.remember()}

    # Every CPU has a worker.
    workers = wait_until(lambda: len(script.remember()) == cpu_budget() and script.remember())
    found = hello_from(script)
    assert found in {process.pid for process in workers}

    os.kill(found, signal.SIGKILL)
    script.wait_for_log(rf"worker {found} died \(9\)")
    before = {process.pid for process in workers}
    wait_until(lambda: len({p.pid for p in script.remember()} - before) == 1, what="another one")
    assert hello_from(script) != found

    script.signal(signal.SIGTERM)
    assert script.wait_exit() == 0
    assert len(script.said(r"worker \d+ died \(0\)")) == cpu_budget()
    script.assert_gone()


def hello_from(script: Script) -> int:
    return int(script.get("/")[2].removeprefix(b"Hello from worker "))


def test_both_sides_may_want_the_end_at_the_same_time(run: Run) -> None:
    script = run("both_want_the_end.py")
    assert script.wait_exit() == 0
    assert len(script.said(r"exit \d 0 None drained True True False")) == 8, script.log
    assert len(script.said(r"drain .*")) == 8


def test_disconnect_is_seen_at_once(run: Run) -> None:
    script = run("disconnect_at_once.py")
    assert script.wait_exit() == 0
    assert script.lines == ["ready True False", "draining True False None", "exited True"]


def test_threads_that_the_script_starts_are_warned_of_once(run: Run) -> None:
    script = run("other_threads.py")
    assert script.wait_exit() == 0
    assert script.log.count("forking while other threads run") == 1


def test_ctrl_c_reaches_the_whole_group_and_finishes_what_is_asked(run: Run) -> None:
    script = run("slow_request.py")
    answer = script.in_background("GET", "/")
    script.wait_for_log("begun")
    os.killpg(script.pid, signal.SIGINT)
    assert answer.join().result is not None
    assert script.wait_exit() == 0
    assert script.said("exit 0")


def test_a_second_ctrl_c_waits_for_nobody(run: Run) -> None:
    script = run("endless_request.py")
    answer = script.in_background("GET", "/")
    script.wait_for_log("begun")
    script.signal(signal.SIGINT)
    script.wait_for_log("drains")
    later = time.monotonic() + SAME_STOP + 0.1
    wait_until(lambda: time.monotonic() > later)  # before that it would be the same wish
    script.signal(signal.SIGINT)
    assert script.wait_exit(10) == 0
    assert answer.join().error is not None


def test_more_workers_than_there_is_room_for_are_refused(run: Run) -> None:
    script = run("no_more_room.py")
    assert script.wait_exit(60) == 0
    assert script.said("refused: the scoreboard has no free row 256")


def test_kills_at_every_stage_leave_a_cluster_that_serves_and_nothing_else(
    run: Run,
) -> None:
    script = run("kills_at_every_stage.py")
    assert script.get("/")[0] == 200
    counted = [(found[1], found[2]) for found in script.said(r"fds (\d) (\d+)")]
    assert len(counted) == 60
    assert len(set(counted)) == len({living for living, _ in counted}), counted
    script.signal(signal.SIGTERM)
    assert script.wait_exit() == 0


def test_a_worker_serves_any_application_with_its_lifespan_and_hooks(run: Run) -> None:
    script = run("application_and_hooks.py")
    assert script.get("/")[2] == b"falcon"
    script.remember()[0].terminate()
    script.wait_for_log("named")
    assert [w["slot"] for w in script.status()["workers"] if w["state"] == "ready"] == [1]
    script.signal(signal.SIGTERM)
    assert script.wait_exit() == 0
    for once in ("start", "startup", "shutdown"):
        assert len(script.said(once)) == (2 if once == "start" else 1)
    assert script.said("exit hook SIGTERM"), script.log
    assert script.said("exit hook stop")
