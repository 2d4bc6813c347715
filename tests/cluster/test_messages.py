"""Messages between real workers and a real primary."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cluster.conftest import Line, Lines, Server, pid_of, wait_until

Serve = Callable[..., Server]


def test_a_message_reaches_one_slot_with_its_sender(lines: Lines) -> None:
    _, (first, second, third) = lines()
    assert first.talk("send", 2, {"n": 1}) == {"ok": None}
    wait_until(lambda: second.received() == [{"body": {"n": 1}, "sender": 1}])
    assert first.received() == third.received() == []


def test_a_broadcast_reaches_everybody_else(lines: Lines) -> None:
    _, (first, second, third) = lines()
    assert second.talk("broadcast", body=[1, 2]) == {"ok": [1, 3]}
    expected = [{"body": [1, 2], "sender": 2}]
    wait_until(lambda: first.received() == third.received() == expected)
    assert second.received() == []


def test_a_request_gets_the_reply_of_its_handler(lines: Lines) -> None:
    _, (first, *_) = lines()
    answer = first.talk("request", 3, {"do": "echo", "text": "Grüße"})
    assert answer == {"ok": {"echo": {"do": "echo", "text": "Grüße"}, "from": 3}}


def test_a_worker_can_write_to_itself(lines: Lines) -> None:
    _, (first, *_) = lines()
    assert first.talk("request", 1, {"do": "echo"})["ok"]["from"] == 1


def test_a_late_reply_arrives_and_one_after_the_timeout_is_dropped(lines: Lines) -> None:
    _, (first, *_) = lines()
    assert first.talk("request", 2, {"do": "late"}) == {"ok": "late"}
    assert first.talk("request", 2, {"do": "late"}, timeout=0.05)["error"] == "NoReply"
    assert first.talk("request", 2, {"do": "echo"})["ok"]["from"] == 2


def test_a_handler_that_raises_fails_its_request_and_nothing_else(lines: Lines) -> None:
    server, (first, *_) = lines()
    answer = first.talk("request", 2, {"do": "raise"})
    assert answer["error"] == "RequestFailed"
    assert "on purpose" in answer["text"]
    server.wait_for_log("on purpose")  # the line may come later than the answer
    assert first.talk("send", 2, {"do": "raise"}) == {"ok": None}
    assert first.talk("request", 2, {"do": "echo"})["ok"]["from"] == 2


def test_a_request_without_a_reply_ends_in_time(lines: Lines) -> None:
    _, (first, *_) = lines()
    answer = first.talk("request", 2, {"do": "silence"}, timeout=0.1)
    assert answer["error"] == "NoReply"


@pytest.mark.parametrize("to", [9, True, "nobody", "", "\\" * 30_000, None, [1], {"slot": 1}])
def test_there_is_an_error_for_who_is_not_there(lines: Lines, to: Any) -> None:
    _, (first, *_) = lines(2)
    assert first.talk("send", to, 1)["error"] == "NoSuchWorker"


def test_sixty_four_kibibytes_pass_and_one_byte_more_is_refused_at_the_sender(
    lines: Lines,
) -> None:
    _, (first, second) = lines(2)
    assert first.talk("send", 2, size=64 * 1024) == {"ok": None}
    wait_until(lambda: len(second.received()) == 1)
    assert len(second.received()[0]["body"]) == 64 * 1024 - 2
    assert first.talk("send", 2, size=64 * 1024 + 1)["error"] == "FrameTooLarge"
    answer = first.talk("request", 2, {"do": "big reply"})
    assert answer["error"] == "RequestFailed"
    assert "limit" in answer["text"]


def test_a_reader_that_sleeps_fills_its_outbox_and_the_sender_is_told(lines: Lines) -> None:
    _, (first, second, third) = lines()
    sleeper = pid_of(second)
    os.kill(sleeper, signal.SIGSTOP)
    try:
        answer = first.talk("send", 2, size=60_000, times=200)
        assert answer["error"] == "MailboxFull"
        assert "worker 2" in answer["text"]
        # The primary has not waited: everybody else goes on.
        assert first.talk("request", 3, {"do": "echo"})["ok"]["from"] == 3
        answer = third.talk("broadcast", body=1)
        assert answer["error"] == "MailboxFull"
        wait_until(lambda: first.received() == [{"body": 1, "sender": 3}])
    finally:
        os.kill(sleeper, signal.SIGCONT)
    # What was on its way arrives, whole and in order.
    wait_until(lambda: len(second.received()) > 10)
    count = wait_until(lambda: settled(second))
    assert {len(each["body"]) for each in second.received()} == {59_998}
    assert first.talk("send", 2, "again") == {"ok": None}
    wait_until(lambda: len(second.received()) == count + 1)


def settled(line: Line) -> int:
    before = len(line.received())
    time.sleep(0.1)
    return before if len(line.received()) == before else 0


def test_a_message_to_the_primary_is_taken_and_a_request_refused(lines: Lines) -> None:
    _, (first, *_) = lines()
    assert first.talk("send", "primary", {"job": "done"}) == {"ok": None}
    answer = first.talk("request", "primary", {"job": "next"})
    assert answer["error"] == "RequestFailed"


def test_a_killed_worker_leaves_a_typed_error_not_a_hanging_request(lines: Lines) -> None:
    server, (first, second) = lines(2)
    pid = pid_of(second)
    os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(pid))
    answer = wait_until(lambda: first.talk("request", 2, {"do": "echo"}, timeout=1.0))
    assert "ok" in answer or answer["error"] in ("NoSuchWorker", "NoReply")
    server.wait_for_log("killed by SIGKILL")


def test_a_thousand_messages_arrive_in_order(lines: Lines) -> None:
    _, (first, second) = lines(2)
    assert first.talk("send", 2, 7, times=1000) == {"ok": None}
    wait_until(lambda: len(second.received()) == 1000)


def test_ping_says_how_long_it_took(serve: Serve) -> None:
    server = serve("--io-workers", "2", "--cpu-pool", "0")
    for to in ("primary", "1", "2", "leader"):
        status, headers, body = server.get(f"/ipc/ping?to={to}&n=3")
        assert status == 200
        assert headers["server-timing"].startswith("ipc;dur=")
        assert 0 < json.loads(body)["min_ms"] <= json.loads(body)["mean_ms"]
    for nowhere in ("9", "9" * 30, "9" * 4400, "%ff"):
        assert server.get(f"/ipc/ping?to={nowhere}")[0] == 404


GARBLING = """
from hybrid.worker.messages.membership import membership
from hybrid.core.messages import link_messages as m

async def app(scope, receive, send):
    if scope["path"] == "/garble":
        link = membership()._link._channel
        {line}
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": b"fine"}})
"""


@pytest.mark.parametrize(
    "line",
    [
        'link.sock.send(b"\\x00\\xff\\xff\\xff")',  # a length over the limit
        'link.send(b"no JSON")',
        'link.send(b\'{"type":"mail","kind":"reply","number":1,"to":"","body":0,"origin":[]}\')',
        "link.send(m.encode(m.Lead(True)))",  # not a worker's word
        "link.send(m.encode(m.Ready()))",  # said once more
    ],
)
def test_a_garbled_link_costs_its_worker_and_nobody_else(
    serve: Serve, tmp_path: Path, line: str
) -> None:
    (tmp_path / "garbling.py").write_text(GARBLING.format(line=line))
    server = serve("garbling:app", "--io-workers", "2", "--cpu-pool", "0", cwd=tmp_path)
    victims = {process.pid for process in server.remember()}
    with contextlib.suppress(OSError, http.client.HTTPException):
        server.get("/garble")
    server.wait_for_log(r"worker slot=\d sent an invalid message: .*it is killed")
    wait_until(lambda: len({p.pid for p in server.remember()} - victims) == 1, what="one more")
    assert len({p.pid for p in server.remember()} & victims) == 1
    wait_until(lambda: server.get("/")[2] == b"fine")
