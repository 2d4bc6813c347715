"""What a script and its workers write to each other; `hybrid serve`: `test_messages`."""

from __future__ import annotations

import os
import signal

import pytest

from tests.cluster.conftest import wait_until
from tests.cluster.scripting import Run, run  # noqa: F401

# A worker that answers, and passes on what it is told to.
TALKER = """
async def talk():
    async for message in cluster.messages():
        try:
            match message.body:
                case {"reply": body}:
                    message.reply(body)
                case {"big": size}:
                    message.reply("x" * size)
                case {"fail": text}:
                    message.fail(text)
                case {"silence": _}:
                    pass
                case {"die": code}:
                    sys.exit(code)
                case {"to": to, "send": body}:
                    await cluster.send(to, body)
                case {"to": to, "request": body}:
                    say("reply", await cluster.request(to, body, timeout=2.0))
                case {"all": body}:
                    say("reached", await cluster.broadcast(body))
                case body:
                    say("slot", cluster.slot(), "got", body, "from", message.sender)
        except hybrid.HybridError as ex:
            say(type(ex).__name__, "-", ex)

def when_ready(count, call):
    ready = []
    @primary.on("ready")
    def one_more(worker):
        ready.append(worker)
        if len(ready) == count:
            call(*sorted(ready, key=lambda worker: worker.slot))

primary = cluster.Primary()
"""


def test_messages_reach_one_worker_all_and_the_primary(run: Run) -> None:  # noqa: F811
    script = run(
        TALKER
        + """
def begin(first, second, third):
    first.send({"n": 1})
    say("reached", primary.broadcast("to all"))
    second.send({"to": "primary", "send": ["job", "done"]})
    second.send({"to": 3, "send": "over"})
    third.send({"all": "others"})

when_ready(3, begin)
primary.on("message")(lambda worker, message: say("primary got", message.body, "of", worker.slot))
for _ in range(3):
    primary.fork(talk)
sys.exit(primary.run())
"""
    )
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


def test_the_primary_asks_and_is_told_why_there_is_no_reply(run: Run) -> None:  # noqa: F811
    script = run(
        TALKER
        + """
def then(name):
    return lambda reply, error: say(name, reply, type(error).__name__, error)

def begin(first, second):
    first.request({"reply": {"x": None}}, then("replied"))
    first.request({"big": 70_000}, then("big"))
    first.request({"fail": "no wish"}, then("failed"))
    first.request({"silence": 1}, then("silent"), timeout=0.2)
    first.request({"reply": 1}, lambda reply, error: 1 / 0)
    second.request({"die": 3}, then("dead"), timeout=30)
    try:
        first.request("x" * 70_000, then("never"))
    except hybrid.HybridError as ex:
        say("refused", ex)

when_ready(2, begin)
primary.fork(talk)
primary.fork(talk)
sys.exit(primary.run())
"""
    )
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


def test_a_worker_asks_the_primary(run: Run) -> None:  # noqa: F811
    script = run(
        TALKER
        + """
@primary.on("message")
def answer(worker, message):
    if message.body == "raise":
        raise ValueError("on purpose")
    message.reply({"of": worker.slot, "next": message.body + 1})

def begin(first):
    for body in (1, "raise", 2):
        first.send({"to": "primary", "request": body})
    first.send({"to": 9, "request": 1})

when_ready(1, begin)
primary.fork(talk)
sys.exit(primary.run())
"""
    )
    script.wait_for_log(r"reply \{'of': 1, 'next': 2\}")
    script.wait_for_log("RequestFailed - callback answer raised ValueError: on purpose")
    script.wait_for_log(r"reply \{'of': 1, 'next': 3\}")
    script.wait_for_log("NoSuchWorker - there is no ready worker 9")


def test_without_a_callback_a_request_fails_at_once(run: Run) -> None:  # noqa: F811
    script = run(
        TALKER
        + """
when_ready(1, lambda first: first.send({"to": "primary", "request": 1}))
primary.fork(talk)
sys.exit(primary.run())
"""
    )
    script.wait_for_log("RequestFailed - the primary has no callback for messages")


def test_a_worker_that_sleeps_fills_its_outbox_and_nothing_is_lost(run: Run) -> None:  # noqa: F811
    script = run("""
PACKET = "x" * 60_000
primary = cluster.Primary()

async def work():
    got = 0
    async for message in cluster.messages():
        if message.body != PACKET:
            message.reply(got)
        got += 1

@primary.on("ready")
def flood(worker):
    if worker.slot == 2:
        return
    os.kill(worker.pid, signal.SIGSTOP)
    sent = 0
    try:
        while True:
            worker.send(PACKET)
            sent += 1
    except hybrid.MailboxFull as ex:
        say("full", ex.slots, sent)
    try:
        primary.broadcast("both")
    except hybrid.MailboxFull as ex:
        say("not to", ex.slots)
    os.kill(worker.pid, signal.SIGCONT)
    flood.sent, flood.worker = sent, worker
    primary.workers[2].request("how many", soon)

def soon(reply, error):
    say("other goes on", reply)
    try:
        flood.worker.request("how many", count, timeout=20)
    except hybrid.MailboxFull:
        primary.workers[2].request("how many", soon)  # later

def count(reply, error):
    say("complete", reply == flood.sent, error)
    primary.disconnect()

primary.fork(work)
primary.fork(work)
sys.exit(primary.run())
""")
    assert script.wait_exit() == 0
    assert script.said(r"full \[1\] \d+"), script.log
    assert script.said(r"not to \[1\]")
    assert script.said("other goes on 1")
    assert script.said("complete True None")


def test_what_a_program_does_not_read_is_bounded_and_said(run: Run) -> None:  # noqa: F811
    script = run("""
primary = cluster.Primary()

async def lazy():
    await cluster.send("primary", "begin")
    await asyncio.sleep(1.5)
    say("read", len([message async for message in cluster.messages()]))

@primary.on("message")
def flood(worker, message):
    for n in range(1100):
        worker.send(n)
    worker.request("one more", lambda reply, error: (say(error), worker.disconnect()))

primary.fork(lazy)
sys.exit(primary.run())
""")
    assert script.wait_exit() == 0
    assert script.said("read 1000"), script.log[-500:]
    assert script.log.count("a message is refused: 1000 wait") == 101
    assert script.said("worker 1 has too many unread messages")


def test_a_primary_that_sleeps_fills_the_outbox_of_its_worker(run: Run) -> None:  # noqa: F811
    script = run("""
got = []
primary = cluster.Primary()
primary.on("message")(lambda worker, message: got.append(message.body))
primary.on("exit")(lambda worker, code, signal: say("got", len(got)))

async def work():
    os.kill(os.getppid(), signal.SIGSTOP)
    sends = [asyncio.ensure_future(cluster.send("primary", "x" * 60_000)) for _ in range(100)]
    await asyncio.sleep(0.1)
    os.kill(os.getppid(), signal.SIGCONT)
    results = await asyncio.gather(*sends, return_exceptions=True)
    full = [r for r in results if isinstance(r, hybrid.MailboxFull)]
    say("sent", results.count(None), "refused", len(full), "of", len(results))

primary.fork(work)
sys.exit(primary.run())
""")
    assert script.wait_exit() == 0
    (sent,) = script.said(r"sent (\d+) refused (\d+) of 100")
    assert 10 < int(sent[1]) < 40
    assert int(sent[1]) + int(sent[2]) == 100
    assert script.said(f"got {sent[1]}"), "what was not refused has arrived"


@pytest.mark.parametrize("who", ["primary", 2])
def test_a_requester_that_does_not_read_gets_short_answers(
    run: Run,  # noqa: F811
    who: str | int,
) -> None:
    script = run(f"""
BIG = "x" * 60_000
primary = cluster.Primary()
primary.on("message")(lambda worker, message: message.reply(BIG))

async def answer():
    async for message in cluster.messages():
        message.reply(BIG)

async def ask():
    async for message in cluster.messages():
        asks = [asyncio.ensure_future(cluster.request({who!r}, n, 30)) for n in range(200)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        time.sleep(1.0)  # reads nothing
        results = await asyncio.gather(*asks, return_exceptions=True)
        dropped = [r for r in results if isinstance(r, hybrid.RequestFailed)]
        say("whole", results.count(BIG), "dropped", len(dropped), str(dropped[0]))

primary.on("ready")(lambda worker: worker.slot == 2 and primary.workers[1].send("begin"))
primary.fork(ask)
primary.fork(answer)
sys.exit(primary.run())
""")
    script.wait_for_log(r"whole \d+ dropped \d+ the reply was dropped: \d+ bytes wait")
    (found,) = script.said(r"whole (\d+) dropped (\d+) .*")
    assert 10 < int(found[1]) < 60
    assert int(found[1]) + int(found[2]) == 200


GARBAGE = {
    "bytes": 'link.sock.send(b"\\x00\\x00\\x00\\x03abc")',
    "a length": 'link.sock.send(b"\\x00\\xff\\xff\\xff")',
    "an unknown type": 'link.send(b\'{"type":"boom"}\')',
    "an unknown reason to leave": 'link.send(b\'{"type":"leave","leaving":"boredom"}\')',
    "an order": 'link.send(b\'{"type":"lead","leads":true}\')',
    "an unhashable number": 'link.send(b\'{"type":"mail","kind":"reply","number":[],'
    '"to":"","body":0,"origin":{}}\')',
}


@pytest.mark.parametrize("what", GARBAGE)
def test_a_worker_that_garbles_its_link_is_killed_and_nobody_else(
    run: Run,  # noqa: F811
    what: str,
) -> None:
    script = run(f"""
from hybrid.worker.messages.membership import membership
primary = cluster.Primary("127.0.0.1:0")

async def garble():
    link = membership()._link._channel
    {GARBAGE[what]}
    await asyncio.sleep(60)

primary.on("exit")(lambda worker, code, signal: say("exit", worker.slot, signal.name))
primary.on("listening")(lambda worker, address: (say(address), primary.fork(garble)))
primary.fork(serve)
sys.exit(primary.run())
""")
    script.wait_for_log("exit 2 SIGKILL")
    assert "worker slot=2 sent garbage" in script.log
    assert script.get("/")[0] == 200
    script.signal(signal.SIGTERM)
    assert script.wait_exit() == 0


def test_messages_that_make_no_sense_hurt_nobody(run: Run) -> None:  # noqa: F811
    script = run("""
from hybrid.worker.messages.membership import membership
from hybrid.core.messages import link_messages as m
from hybrid.core.workers.lifecycle import Leaving
primary = cluster.Primary("127.0.0.1:0")

async def nonsense():
    link = membership()._link
    for kind in ("send", "request", "reply", "failure", "ping", "nonsense"):
        for to in (1, 99, -1, "", "primary", "all", "leader", "nobody"):
            for origin in (0, 1, 99):
                link.send(m.Mail(kind, 77, to, None, 5, origin))
    for message in (m.QueueEmptied(), m.LeadGivenUp(), m.LeftDistribution(), m.Ready(False),
                    m.Ready(False), m.Online(), m.Leave(Leaving.RECYCLE), m.Leave(Leaving.RECYCLE)):
        link.send(message)
    await cluster.send("primary", "done")

primary.on("message")(lambda worker, message: message.body and say(message.body))
primary.on("listening")(lambda worker, address: (say(address), primary.fork(nonsense)))
primary.fork(serve)
sys.exit(primary.run())
""")
    wait_until(lambda: script.said("done"), what=script.log)
    assert script.get("/")[0] == 200
    assert os.path.exists(f"/proc/{script.pid}")
    script.signal(signal.SIGTERM)
    assert script.wait_exit() == 0
