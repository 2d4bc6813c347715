"""What a script and its workers write to each other; `hybrid serve`: `test_messages`."""

from __future__ import annotations

import os
import signal

import pytest

from tests.cluster.conftest import Run, wait_until


def test_messages_reach_one_worker_all_and_the_primary(run: Run) -> None:
    script = run("mail.py")
    for expected in (
        "slot 1 got {'n': 1} from 0",
        "slot 1 got to all from 0",
        "slot 2 got to all from 0",
        "slot 3 got to all from 0",
        "primary got ['job', 'done'] of 2",
        "slot 3 got over from 2",
        "slot 1 got others from 3",
        "slot 2 got others from 3",
    ):
        wait_until(lambda line=expected: line in script.lines, what=expected)
    reached = {line for line in script.lines if line.startswith("reached")}
    assert reached == {"reached [1, 2, 3]", "reached [1, 2]"}


def test_the_primary_asks_and_is_told_why_there_is_no_reply(run: Run) -> None:
    script = run("primary_asks.py")
    script.wait_for_log(r"replied \{'x': None\} NoneType None")
    script.wait_for_log("big None RequestFailed .*limit of 65536")
    script.wait_for_log("failed None RequestFailed no wish")
    script.wait_for_log("silent None NoReply no reply from 1 within 0.2 s")
    script.wait_for_log("dead None NoSuchWorker there is no ready worker 2")
    script.wait_for_log("ZeroDivisionError")
    script.wait_for_log("refused frame of 70002 bytes is over the limit of 65536")
    assert "never" not in script.log
    assert len(script.said("dead .*")) == 1
    script.signal(signal.SIGTERM)
    assert script.wait_exit() == 0


def test_a_worker_asks_the_primary(run: Run) -> None:
    script = run("asks_primary.py")
    script.wait_for_log(r"reply \{'of': 1, 'next': 2\}")
    script.wait_for_log("RequestFailed - callback answer raised ValueError: on purpose")
    script.wait_for_log(r"reply \{'of': 1, 'next': 3\}")
    script.wait_for_log("NoSuchWorker - there is no ready worker 9")


def test_without_a_callback_a_request_fails_at_once(run: Run) -> None:
    script = run("no_callback.py")
    script.wait_for_log("RequestFailed - the primary has no callback for messages")


def test_a_worker_that_sleeps_fills_its_outbox_and_nothing_is_lost(run: Run) -> None:
    script = run("sleeping_worker.py")
    assert script.wait_exit() == 0
    assert script.said(r"full \[1\] \d+"), script.log
    assert script.said(r"not to \[1\]")
    assert script.said("other goes on 1")
    assert script.said("complete True None")


def test_what_a_program_does_not_read_is_bounded_and_said(run: Run) -> None:
    script = run("unread_messages.py")
    assert script.wait_exit() == 0
    assert script.said("read 1000"), script.log[-500:]
    assert script.log.count("a message is refused: 1000 wait") == 101
    assert script.said("worker 1 has too many unread messages")


def test_a_primary_that_sleeps_fills_the_outbox_of_its_worker(run: Run) -> None:
    script = run("sleeping_primary.py")
    assert script.wait_exit() == 0
    (sent,) = script.said(r"sent (\d+) refused (\d+) of 100")
    assert 10 < int(sent[1]) < 40
    assert int(sent[1]) + int(sent[2]) == 100
    assert script.said(f"got {sent[1]}"), "what was not refused has arrived"


@pytest.mark.parametrize("who", ["primary", "2"])
def test_a_requester_that_does_not_read_gets_short_answers(
    run: Run,
    who: str,
) -> None:
    script = run("requester_that_does_not_read.py", who)
    script.wait_for_log(r"whole \d+ dropped \d+ the reply was dropped: \d+ bytes wait")
    (found,) = script.said(r"whole (\d+) dropped (\d+) .*")
    assert 10 < int(found[1]) < 60
    assert int(found[1]) + int(found[2]) == 200


GARBAGE = (
    "bytes",
    "a length",
    "an unknown type",
    "an unknown reason to leave",
    "an order",
    "an unhashable number",
)


@pytest.mark.parametrize("what", GARBAGE)
def test_a_worker_that_garbles_its_link_is_killed_and_nobody_else(
    run: Run,
    what: str,
) -> None:
    script = run("garbling.py", what)
    script.wait_for_log("exit 2 SIGKILL")
    assert "worker slot=2 sent an invalid message" in script.log
    assert script.get("/")[0] == 200
    script.signal(signal.SIGTERM)
    assert script.wait_exit() == 0


def test_messages_that_make_no_sense_hurt_nobody(run: Run) -> None:
    script = run("nonsense.py")
    wait_until(lambda: script.said("done"), what=script.log)
    assert script.get("/")[0] == 200
    assert os.path.exists(f"/proc/{script.pid}")
    script.signal(signal.SIGTERM)
    assert script.wait_exit() == 0
