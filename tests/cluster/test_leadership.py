"""Exactly one leader, through deaths and reloads; and the application's hooks."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from hybrid.core.messages.link_messages import Mail
from hybrid.errors import HookFailed
from hybrid.worker.hooks import Moment, Registry
from hybrid.worker.messages.mailbox import Mailbox
from tests.cluster.conftest import ROOT, TALKING, Lines, Server, pid_of, wait_until

Serve = Callable[..., Server]


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[list[str]]]:
    """Return the lines that the application's hooks wrote: [slot, pid, text]."""
    path = tmp_path / "notes"
    path.touch()
    monkeypatch.setenv("TALKING_NOTES", str(path))
    return lambda: [line.split(" ", 2) for line in path.read_text().splitlines()]


Notes = Callable[[], list[list[str]]]


def leads_now(notes: Notes) -> set[str]:
    """Return the pids that lead, by what the hooks wrote; check that there never were two."""
    leading: set[str] = set()
    for _, pid, text in notes():
        if text == "leads":
            leading.add(pid)
        elif text == "gives up":
            leading.remove(pid)
    return leading


def test_exactly_one_worker_leads(lines: Lines) -> None:
    _, opened = lines(3)
    wait_until(lambda: sum(line.state()["is_leader"] for line in opened) == 1)


def test_another_worker_leads_after_the_leader_was_killed(serve: Serve, notes: Notes) -> None:
    serve(TALKING, "--io-workers", "3", "--cpu-pool", "0", cwd=ROOT)
    (first,) = wait_until(lambda: leads_now(notes))
    os.kill(int(first), signal.SIGKILL)
    wait_until(lambda: len(leads_now(notes)) == 2, what="another one; the dead one wrote nothing")


def test_a_reload_moves_leadership_and_there_are_never_two(serve: Serve, notes: Notes) -> None:
    server = serve(TALKING, "--io-workers", "2", "--cpu-pool", "0", cwd=ROOT)
    wait_until(lambda: leads_now(notes))
    server.signal(signal.SIGHUP)
    server.wait_for_log("generation 2 is ready")
    young = {str(worker) for worker in [p.pid for p in server.remember()]}
    wait_until(lambda: leads_now(notes) and leads_now(notes) <= young, what="a new one leads")

    at_once, most = 0, 0
    for _, _, text in notes():
        at_once += {"leads": 1, "gives up": -1}.get(text, 0)
        most = max(most, at_once)
    assert most == 1


def test_the_leader_hears_what_happens_to_workers(lines: Lines) -> None:
    _, opened = lines(2)
    leader = wait_until(lambda: next((x for x in opened if x.state()["is_leader"]), None))
    other = next(line for line in opened if line is not leader)
    os.kill(pid_of(other), signal.SIGKILL)
    expected = ["exit", "fork", "online", "listening", "ready"]
    wait_until(
        lambda: [e for e in leader.state()["events"] if e in expected][-5:] == expected,
        what=str(leader.state()["events"]),
    )


def test_hooks_run_in_order_with_the_reason(serve: Serve, notes: Notes) -> None:
    server = serve(TALKING, "--io-workers", "1", "--cpu-pool", "0", cwd=ROOT)
    pid = str(server.remember()[0].pid)
    server.signal(signal.SIGHUP)
    server.wait_for_log("generation 2 is ready")
    expected = ["start", "drain", "drained", "exit reload"]
    wait_until(lambda: [t for _, p, t in notes() if p == pid and "lead" not in t
                        and "gives" not in t] == expected)  # fmt: skip
    server.signal(signal.SIGTERM)
    server.wait_exit()
    assert notes()[-1][2] == "exit stop"


def test_a_hook_that_raises_or_hangs_is_logged_and_the_next_one_runs(
    serve: Serve, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALKING_SLOW", "1")
    monkeypatch.setenv("TALKING_BROKEN", "1")
    server = serve(TALKING, "--io-workers", "1", "--cpu-pool", "0", cwd=ROOT)
    server.signal(signal.SIGTERM)
    assert server.wait_exit() == 0
    assert "on_drained hook slow: took over 0.2 s" in server.log
    assert "on_drained hook broken: ValueError('on purpose')" in server.log
    assert notes()[-1][2] == "exit stop"


def test_a_start_hook_that_raises_keeps_the_worker_from_becoming_ready(
    serve: Serve, tmp_path: Path
) -> None:
    (tmp_path / "refusing.py").write_text(
        "from hybrid import cluster\n"
        "@cluster.on_start\n"
        "async def connect():\n"
        "    raise ConnectionError('no database')\n"
        "async def app(scope, receive, send):\n"
        "    raise NotImplementedError\n"
    )
    server = serve("refusing:app", "--io-workers", "1", ready=False, cwd=tmp_path)
    server.wait_for_log("on_start hook connect: ConnectionError")
    server.signal(signal.SIGQUIT)
    server.wait_exit()


def test_without_a_server_the_process_leads_and_has_nobody_to_write_to() -> None:
    import hybrid
    from hybrid import cluster

    assert cluster.is_leader()
    assert cluster.slot() == 0
    assert asyncio.run(cluster.broadcast("x")) == []
    for refused in (cluster.send(1, "x"), cluster.request(1, "x"), cluster.serve(print)):
        with pytest.raises(hybrid.NotInCluster):
            asyncio.run(refused)
    with pytest.raises(hybrid.NotInCluster):
        cluster.messages()


def test_a_hook_that_says_nothing_has_a_limit_of_its_moment() -> None:
    registry = Registry()
    for moment in Moment:
        registry.add(moment, lambda: asyncio.sleep(60), None)
    limits = {moment.label: registry.at(moment)[0].timeout for moment in Moment}
    assert limits == {
        "start": 30, "drain": 5, "drained": 5, "exit": 5, "leadership": 5, "event": 5,
        "message": 60,
    }  # fmt: skip


async def cancel_itself(*args: object) -> None:
    """What an application's own cancelled task raises in whoever awaits it."""
    raise asyncio.CancelledError("on purpose")


def test_a_hook_that_raises_cancellederror_has_failed_and_the_next_one_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry = Registry()
    ran: list[str] = []
    registry.add(Moment.DRAIN, cancel_itself, None)
    registry.add(Moment.DRAIN, lambda: ran.append("next"), None)

    asyncio.run(registry.run(Moment.DRAIN))

    assert ran == ["next"]
    assert "on_drain hook cancel_itself: CancelledError('on purpose')" in caplog.text
    with pytest.raises(HookFailed, match="cancel_itself"):
        asyncio.run(registry.run(Moment.DRAIN, strict=True))


def test_hooks_whose_task_is_cancelled_end() -> None:
    registry = Registry()
    registry.add(Moment.EXIT, lambda: asyncio.sleep(3600), None)

    async def main() -> None:
        running = asyncio.create_task(registry.run(Moment.EXIT))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())


def test_a_message_handler_that_raises_cancellederror_fails_the_request() -> None:
    registry = Registry()
    registry.add(Moment.MESSAGE, cancel_itself, None)

    async def main() -> Mail:
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        mailbox = Mailbox(1, SimpleNamespace(send=answer.set_result), loop, registry)
        mailbox.on_mail(Mail("request", 7, 1, None, sender=2, origin=3))
        return await asyncio.wait_for(answer, 10)

    answer = asyncio.run(main())
    assert (answer.kind, answer.number) == ("failure", 7)
    assert "CancelledError" in str(answer.body)
