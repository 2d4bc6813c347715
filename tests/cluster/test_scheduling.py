"""The scheduling policies, with real workers that block, die and run out of descriptors."""

from __future__ import annotations

import http.client
import os
import resource
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.cluster.conftest import Server, free_port, wait_until

Serve = Callable[..., Server]
POLICIES = ("shared", "reuseport", "round-robin", "least-loaded")
HANDED_OVER = ("round-robin", "least-loaded")
PLAIN = ("--cpu-pool", "0", "--chaos")


def start(serve: Serve, policy: str, workers: int = 2, *more: str) -> Server:
    return serve("--io-workers", str(workers), "--scheduling", policy, *PLAIN, *more)


def ask(server: Server) -> str:
    """Send one request on a fresh connection; return the slot that answered."""
    status, headers, _ = server.get("/hello")
    assert status == 200
    return headers["x-worker"]


class Load:
    """Fresh connections, one after the other, in threads; every loss is kept."""

    def __init__(self, server: Server, threads: int = 3) -> None:
        self.lost: list[str] = []
        self.answered = 0
        self._port = server.port
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
            try:
                connection.request("GET", "/hello")
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200
                self.answered += 1
            except ConnectionRefusedError:
                if not self._over.is_set():
                    self.lost.append("refused")
            except (OSError, http.client.HTTPException) as ex:
                self.lost.append(f"{type(ex).__name__}: {ex}")
            finally:
                connection.close()

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)


@pytest.fixture
def load() -> Iterator[Callable[[Server], Load]]:
    loads: list[Load] = []

    def begin(server: Server) -> Load:
        loads.append(Load(server))
        wait_until(lambda: loads[-1].answered > 10)
        return loads[-1]

    yield begin
    for each in loads:
        each.end()


@pytest.fixture
def stopped() -> Iterator[Callable[[int], None]]:
    """Stop processes (their loop is blocked for good); they go on at the end."""
    pids: list[int] = []

    def stop(pid: int) -> None:
        pids.append(pid)
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)

    yield stop
    for pid in pids:
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_worker_answers_on_the_one_port(serve: Serve, policy: str) -> None:
    server = start(serve, policy, 3)
    seen: set[str] = set()

    def all_seen() -> bool:
        seen.add(ask(server))
        return seen == {"1", "2", "3"}

    wait_until(all_seen)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_reload_loses_no_request(
    serve: Serve, load: Callable[[Server], Load], policy: str
) -> None:
    server = start(serve, policy)
    work = load(server)

    server.signal(signal.SIGHUP)
    server.wait_for_log("generation 2 is ready")
    wait_until(lambda: len(server.status()["workers"]) == 2, what="the old ones are gone")

    work.end()
    assert work.lost == []


@pytest.mark.parametrize("policy", ["shared", "round-robin", "least-loaded"])
def test_scaling_loses_no_request(
    serve: Serve, load: Callable[[Server], Load], policy: str
) -> None:
    server = start(serve, policy)
    work = load(server)

    for _ in range(2):
        server.signal(signal.SIGTTIN)
        wait_until(lambda: len(server.workers()) == 3)
        server.signal(signal.SIGTTOU)
        wait_until(lambda: len(server.status()["workers"]) == 2)

    work.end()
    assert work.lost == []


def test_reuseport_binds_for_a_slot_more_and_gives_it_back(serve: Serve) -> None:
    server = start(serve, "reuseport")

    def sockets() -> int:
        return len(psutil.Process(server.pid).net_connections(kind="tcp"))

    assert sockets() == 2
    server.signal(signal.SIGTTIN)
    wait_until(lambda: len(server.workers()) == 3)
    assert sockets() == 3
    server.signal(signal.SIGTTOU)
    wait_until(lambda: len(server.status()["workers"]) == 2)
    assert sockets() == 2
    assert {ask(server) for _ in range(30)} == {"1", "2"}


@pytest.mark.parametrize("policy", POLICIES)
def test_a_full_stop_answers_what_waits_in_the_backlog(
    serve: Serve, stopped: Callable[[int], None], policy: str
) -> None:
    server = start(serve, policy)
    pids = [worker["pid"] for worker in server.workers()]
    for pid in pids:
        stopped(pid)
    waiting = [server.in_background("GET", "/hello") for _ in range(8)]
    wait_until(lambda: connections_to(server.port) >= 8)

    server.signal(signal.SIGTERM)
    server.wait_for_log("stopping")
    for pid in pids:
        os.kill(pid, signal.SIGCONT)

    assert server.wait_exit() == 0
    for request in waiting:
        request.join()
        assert request.error is None
        assert request.result is not None
        assert request.result[0] == 200


def connections_to(port: int) -> int:
    """Count the established connections to a port, accepted or not."""
    found = 0
    with open("/proc/net/tcp") as table:
        for line in table:
            fields = line.split()
            if fields[0] != "sl" and int(fields[1].split(":")[1], 16) == port:
                found += fields[3] == "01"
    return found


@pytest.mark.parametrize("policy", HANDED_OVER)
def test_a_worker_that_does_not_answer_delays_nobody_for_long(
    serve: Serve, stopped: Callable[[int], None], policy: str
) -> None:
    server = start(serve, policy, 3)
    stopped(server.workers()[0]["pid"])

    answered = Counter(ask(server) for _ in range(60))

    assert set(answered) == {"2", "3"}


@pytest.mark.parametrize("policy", HANDED_OVER)
def test_a_worker_that_comes_back_gets_connections_again(
    serve: Serve, stopped: Callable[[int], None], policy: str
) -> None:
    server = start(serve, policy)
    pid = server.workers()[0]["pid"]
    stopped(pid)
    assert {ask(server) for _ in range(10)} == {"2"}
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: ask(server) == "1")


@pytest.mark.parametrize("policy", HANDED_OVER)
def test_a_connection_survives_the_worker_that_died_before_it_looked(
    serve: Serve, stopped: Callable[[int], None], policy: str
) -> None:
    server = start(serve, policy, 1)
    pid = server.workers()[0]["pid"]
    stopped(pid)
    waiting = [server.in_background("GET", "/hello") for _ in range(3)]
    wait_until(lambda: descriptors(server.pid, server.port) >= 2, what="one is handed over")

    os.kill(pid, signal.SIGKILL)

    for request in waiting:
        answer = request.join().result
        assert answer is not None
        assert answer[0] == 200


def descriptors(pid: int, port: int) -> int:
    """Count the sockets on `port` that a process holds, its listener included."""
    found = psutil.Process(pid).net_connections(kind="tcp")
    return sum(1 for each in found if each.laddr and each.laddr.port == port)


@pytest.mark.parametrize("policy", HANDED_OVER)
def test_with_no_worker_alive_connections_wait(serve: Serve, policy: str) -> None:
    server = start(serve, policy, 1)
    os.kill(server.workers()[0]["pid"], signal.SIGKILL)
    assert server.get("/hello")[0] == 200  # not refused, not reset


@pytest.mark.parametrize("policy", HANDED_OVER)
def test_a_full_worker_refuses_and_the_connection_waits_for_room(serve: Serve, policy: str) -> None:
    server = start(serve, policy, 2, "--limit-connections", "1")
    held = [server.connection() for _ in range(2)]
    slots = set()
    for connection in held:
        connection.request("GET", "/hello")
        answer = connection.getresponse()
        answer.read()
        slots.add(answer.headers["x-worker"])
    assert slots == {"1", "2"}
    third = server.in_background("GET", "/hello")
    wait_until(lambda: descriptors(server.pid, server.port) == 2, what="it waits in the primary")

    held[0].close()

    answered = third.join().result
    assert answered is not None
    assert answered[0] == 200
    held[1].close()


@pytest.mark.parametrize("policy", HANDED_OVER)
def test_a_worker_without_descriptors_refuses_and_the_next_one_is_asked(
    serve: Serve, policy: str
) -> None:
    server = start(serve, policy)
    poor = server.workers()[0]["pid"]
    limit = resource.prlimit(poor, resource.RLIMIT_NOFILE)
    resource.prlimit(poor, resource.RLIMIT_NOFILE, (3, limit[1]))

    assert {ask(server) for _ in range(10)} == {"2"}

    resource.prlimit(poor, resource.RLIMIT_NOFILE, limit)
    wait_until(lambda: ask(server) == "1")


@pytest.mark.parametrize("policy", HANDED_OVER)
def test_a_primary_without_descriptors_backs_off_and_recovers(serve: Serve, policy: str) -> None:
    server = start(serve, policy)
    limit = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    used = {int(fd) for fd in os.listdir(f"/proc/{server.pid}/fd")}
    lowest_free = next(fd for fd in range(len(used) + 1) if fd not in used)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (lowest_free, limit[1]))
    request = server.in_background("GET", "/hello")
    server.wait_for_log("not accepting for")

    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limit)

    answer = request.join().result
    assert answer is not None
    assert answer[0] == 200


@pytest.mark.parametrize("policy", ["shared", "reuseport"])
def test_a_worker_without_descriptors_leaves_connections_in_the_backlog(
    serve: Serve, policy: str
) -> None:
    server = start(serve, policy, 1)
    worker = server.workers()[0]["pid"]
    limit = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (3, limit[1]))
    request = server.in_background("GET", "/hello")
    server.wait_for_log("not accepting for")

    resource.prlimit(worker, resource.RLIMIT_NOFILE, limit)

    answer = request.join().result
    assert answer is not None
    assert answer[0] == 200


def test_who_has_least_to_do_gets_the_next_connection(
    serve: Serve, stopped: Callable[[int], None]
) -> None:
    server = start(serve, "least-loaded")
    idle = server.workers()[1]["pid"]
    stopped(idle)
    for _ in range(3):
        server.in_background("GET", "/io/wait?ms=20000")
    wait_until(lambda: server.workers()[0]["active"] == 4, what="all of them on the other one")

    os.kill(idle, signal.SIGCONT)

    # In turn, no worker would get three of them one after the other.
    wait_until(lambda: [ask(server) for _ in range(3)] == ["2"] * 3, 5.0)


def test_reuseport_does_not_start_beside_another_server_of_the_same_user(serve: Serve) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        server = serve("--bind", f"127.0.0.1:{port}", "--scheduling", "reuseport", ready=False)
        assert server.wait_exit() == 1
        assert "in use" in server.log


def test_reuseport_needs_a_port(serve: Serve) -> None:
    server = serve("--bind", "unix:/tmp/never.sock", "--scheduling", "reuseport", ready=False)
    assert server.wait_exit() == 1
    assert "needs HOST:PORT" in server.log


def test_a_slots_listener_survives_its_worker(serve: Serve) -> None:
    server = start(serve, "reuseport")
    os.kill(server.workers()[0]["pid"], signal.SIGKILL)
    for _ in range(20):  # about half of them wait in that slot's queue
        assert ask(server) in ("1", "2")


@pytest.mark.parametrize("policy", POLICIES)
def test_a_fixed_port_is_free_after_the_stop(serve: Serve, policy: str) -> None:
    port = free_port()
    for _ in range(2):
        server = start(serve, policy, 2, "--bind", f"127.0.0.1:{port}")
        assert server.get("/hello")[0] == 200
        server.signal(signal.SIGTERM)
        assert server.wait_exit() == 0


@pytest.mark.parametrize("policy", HANDED_OVER)
def test_the_primary_holds_no_connection_of_its_own(serve: Serve, policy: str) -> None:
    server = start(serve, policy)
    before = len(os.listdir(f"/proc/{server.pid}/fd"))
    for _ in range(50):
        ask(server)
    wait_until(lambda: len(os.listdir(f"/proc/{server.pid}/fd")) == before)


@pytest.mark.parametrize("policy", ["shared", "round-robin"])
def test_keepalive_connections_move_to_a_worker_that_is_new(serve: Serve, policy: str) -> None:
    server = start(serve, policy, 1)
    clients = [server.connection() for _ in range(20)]

    def ask_all() -> Counter[str]:
        found: Counter[str] = Counter()
        for client in clients:
            client.request("GET", "/hello")  # connects anew where the last answer said close
            answer = client.getresponse()
            assert answer.status == 200
            answer.read()
            found[answer.headers["x-worker"]] += 1
        return found

    assert ask_all() == {"1": 20}
    server.signal(signal.SIGTTIN)
    wait_until(lambda: len(server.workers()) == 2, what="two workers")

    # 16 and 4 may be chance (10 ± 2 √10), so nobody moves more than that.
    wait_until(lambda: ask_all()["2"] >= 4, what="the new one has its share")
    for client in clients:
        client.close()


def test_keepalive_connections_stay_where_they_are_if_wanted(serve: Serve) -> None:
    server = start(serve, "round-robin", 1, "--no-keepalive-balance", "--keepalive-requests", "3")
    client = server.connection()
    closes = []
    for _ in range(6):
        client.request("GET", "/hello")
        answer = client.getresponse()
        answer.read()
        closes.append(answer.headers.get("connection") == "close")
    client.close()
    assert closes == [False, False, True] * 2
