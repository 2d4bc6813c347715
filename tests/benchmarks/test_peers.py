"""The comparison's machinery; the null server stands in for every stack."""

from __future__ import annotations

import http.client
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.peers import __main__ as peers_cli
from benchmarks.peers import compare as peers
from benchmarks.peers.compare import Comparison, PeerCell, begin, run
from benchmarks.peers.stacks import HYBRID, Peer, known_peers
from hybrid.bench.server.procfs import session_members
from hybrid.bench.server.served import NULL_SERVER
from workloads.kernels.primes import primes

STAND = Peer(HYBRID, "one", lambda n, m: NULL_SERVER, lambda: "")
OTHER = replace(STAND, name="other", title="another")
MISSING = replace(STAND, name="missing", install=lambda: "there is none")
BROKEN = replace(STAND, name="broken", command=lambda n, m: ("false",))


def test_every_stack_is_measured_in_every_block_and_compared() -> None:
    stacks = (STAND, OTHER, MISSING, BROKEN)
    found = begin(2, 2, stacks)

    cells = list(run(found, blocks=2, seconds=0.3, peers=stacks))

    assert found.skipped == {"missing": "there is none"}
    assert sorted((c.block, c.peer) for c in cells) == [
        (block, name) for block in (0, 1) for name in ("broken", HYBRID, "other")
    ]
    assert all(c.problems for c in cells if c.peer == "broken")
    ratio = found.against("other", "pss_mb")
    assert ratio is None or 0.8 < ratio.estimate < 1.25  # the same program
    again = Comparison.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.against("other", "pss_mb") == ratio


def test_a_block_that_failed_a_gate_takes_no_part() -> None:
    found = begin(2, 2, (STAND, OTHER))
    found.cells = [
        PeerCell(0, HYBRID, {"hello_us": 10.0}),
        PeerCell(0, "other", {"hello_us": 20.0}),
        PeerCell(1, HYBRID, {"hello_us": 90.0}, ["the generator was late"]),
        PeerCell(1, "other", {"hello_us": 20.0}),
    ]

    ratio = found.against("other", "hello_us")

    assert ratio is not None
    assert (ratio.estimate, ratio.pairs) == (pytest.approx(0.5), 1)


def test_missing_node_is_said_and_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    node = next(each for each in known_peers() if each.name == "node")

    found = begin(2, 2, (STAND, node))

    assert "not installed" in found.skipped["node"]
    assert list(found.titles) == [HYBRID]


def test_the_command_reports_and_stores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(peers, "known_peers", lambda: (STAND, OTHER, MISSING))
    stored = tmp_path / "peers.json"

    options = ["--blocks", "1", "--seconds", "0.3", "--out", str(stored)]
    done = CliRunner().invoke(peers_cli.peers, options)

    assert done.exit_code == 0, done.output
    assert "skipped missing: there is none" in done.output
    assert "hybrid / other" in done.output.replace("\n", " ")
    assert json.loads(stored.read_text())["machine"]
    assert peers_cli.__doc__


@pytest.mark.parametrize("name", ["node", "uvicorn"])
def test_a_peer_computes_what_we_do(name: str) -> None:
    peer = next(each for each in known_peers() if each.name == name)
    missing = peer.install()  # on demand, as the command does it
    if missing:
        pytest.skip(missing)  # no node, or no registry: it cannot be had here

    with peer.server(2, 1) as server:
        connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
        answers = []
        for path in ("/hello", "/io/wait?ms=1", "/cpu/primes?n=10000"):
            connection.request("GET", path)
            response = connection.getresponse()
            answers.append((response.status, response.read()))
        connection.close()
        running = server.pid

    assert [status for status, _ in answers] == [200, 200, 200]
    assert json.loads(answers[-1][1])["result"] == primes(10_000)
    assert session_members(running) == []
