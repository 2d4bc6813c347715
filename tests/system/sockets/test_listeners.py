from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

import pytest

from hybrid.config import BindConfig
from hybrid.errors import ConfigError
from hybrid.system.sockets.listeners import close_all, open_listeners


def settings(*addresses: str) -> BindConfig:
    return BindConfig(addresses=addresses)


def test_port_0_becomes_a_real_port_in_the_address() -> None:
    (listener,) = open_listeners(settings("127.0.0.1:0"))
    assert int(listener.address.rsplit(":", 1)[1]) > 0
    listener.close()


def test_an_address_in_use_is_one_clear_line_and_closes_what_was_bound() -> None:
    (first,) = open_listeners(settings("127.0.0.1:0"))
    port = first.sock.getsockname()[1]
    with pytest.raises(ConfigError, match="in use"):
        open_listeners(settings("127.0.0.1:0", f"127.0.0.1:{port}"))
    first.close()


@pytest.mark.parametrize(
    "address", ["localhost", "127.0.0.1:99999", "1.2.3.4:x", "fd://x", "fd://9999"]
)
def test_nonsense_names_itself(address: str) -> None:
    with pytest.raises(ConfigError, match=address.replace("/", "/")):
        open_listeners(settings(address))


def test_a_unix_socket_has_its_mode_and_is_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "s"
    (listener,) = open_listeners(BindConfig(addresses=(f"unix:{path}",), unix_mode=0o600))
    assert path.stat().st_mode & 0o777 == 0o600
    listener.close()
    assert not path.exists()


def test_a_stale_unix_socket_is_replaced_and_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    alive = open_listeners(settings(f"unix:{path}"))
    with pytest.raises(ConfigError, match="another server"):
        open_listeners(settings(f"unix:{path}"))
    close_all(alive)


def test_a_file_in_the_way_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(ConfigError, match="a file of that name"):
        open_listeners(settings(f"unix:{path}"))
    assert path.read_text() == "data"


def test_an_inherited_descriptor_is_taken_as_it_is() -> None:
    (mine,) = open_listeners(settings("127.0.0.1:0"))
    (theirs,) = open_listeners(settings(f"fd://{mine.sock.fileno()}"))
    assert theirs.address == mine.address
    theirs.sock.detach()
    mine.close()


def test_a_privileged_port_is_refused_with_the_reason() -> None:
    first_free = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if not first_free.exists() or int(first_free.read_text()) <= 1:
        pytest.skip("every port is free for everybody here")
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)  # nobody
    try:
        with pytest.raises(ConfigError, match="ports below 1024 need privileges"):
            open_listeners(settings("127.0.0.1:1"))
    finally:
        os.seteuid(before)


def test_a_relative_path_serves_where_the_absolute_one_is_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 120)  # a socket's name has 108 bytes
    deep.mkdir()
    with pytest.raises(ConfigError, match="too long"):
        open_listeners(settings(f"unix:{deep}/sock"))
    monkeypatch.chdir(deep)
    (listener,) = open_listeners(settings("unix:sock"))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("sock")
    listener.close()
    assert not (deep / "sock").exists()


def test_the_backlog_is_the_kernels() -> None:
    limit = int(Path("/proc/sys/net/core/somaxconn").read_text())
    (listener,) = open_listeners(BindConfig(addresses=("127.0.0.1:0",), backlog=123))
    # Of a listening socket tcpi_sacked, the eighth 32-bit field, is its backlog: tcp(7).
    info = listener.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 64)
    assert struct.unpack_from("I", info, 8 + 4 * 5)[0] == min(123, limit)
    listener.close()


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_the_ipv6_wildcard_takes_ipv4_and_an_address_does_not() -> None:
    try:
        both, only = open_listeners(settings("[::]:0", "[::1]:0"))
    except ConfigError:
        pytest.skip("no IPv6 on this machine")
    socket.create_connection(("127.0.0.1", both.sock.getsockname()[1])).close()
    socket.create_connection(("::1", only.sock.getsockname()[1])).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", only.sock.getsockname()[1]))
    close_all([both, only])
