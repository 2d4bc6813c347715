"""What the operator can set, each setting written once, in small frozen groups.

Every group is a value: the command line builds them once, the primary forks
with them, no process changes them. Durations are seconds as float, sizes bytes.
A limit of 0 means "no limit" wherever the help says so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hybrid.setting import Heading, Setting, setting

Place = tuple[str, str]  # group and field; the group of a field of Config itself is empty


# fmt: off
# A table: the formatter would give every argument a line of its own.


@dataclass(frozen=True, slots=True)
class AppConfig:
    """Which application, and how to find it."""

    target: str = "workloads.app:app"  # module:attribute; the argument of `hybrid serve`
    app_dir: Path = setting(Path(), "--app-dir FOLDER", Heading.APPLICATION,
        "folder that is put first on sys.path, and that --reload watches")
    factory: bool = setting(False, "--factory", Heading.APPLICATION,
        "APP names a function that returns the application")
    interface: str = setting("auto", "--interface auto|asgi|wsgi", Heading.APPLICATION,
        "interface of the application; auto: by what it can be called with")
    preload: tuple[str, ...] = setting((), "--preload MODULE", Heading.APPLICATION,
        "third-party module that the primary imports before it forks, so that all processes "
        "share its memory (repeatable)", fixed=True)
    reload: bool = setting(False, "--reload", Heading.APPLICATION,
        "reload when a .py or .toml file below --app-dir changes (needs watchfiles)", fixed=True)
    chaos: bool = setting(False, "--chaos", Heading.APPLICATION,
        "let the demonstration application crash, block and leak memory on request")


@dataclass(frozen=True, slots=True)
class BindConfig:
    """Where to listen."""

    addresses: tuple[str, ...] = setting(("127.0.0.1:8000",), "--bind -b ADDRESS", Heading.ADDRESS,
        "address to listen on: HOST:PORT, unix:PATH or fd://N (repeatable)", fixed=True)
    backlog: int = setting(2048, "--backlog 1..", Heading.ADDRESS,
        "connections that the kernel queues until a worker accepts them", fixed=True)
    unix_mode: int = setting(0o666, "--unix-mode OCTAL", Heading.ADDRESS,
        "permissions of a Unix socket that hybrid creates, in octal", fixed=True)
    certfile: Path | None = setting(None, "--certfile FILE", Heading.ADDRESS,
        "certificate chain (PEM); every TCP address then speaks TLS", fixed=True)
    keyfile: Path | None = setting(None, "--keyfile FILE", Heading.ADDRESS,
        "private key (PEM), unless the file of --certfile contains it", fixed=True)


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """What a connection may do, and how long it may take."""

    keepalive_balance: bool = setting(
        True, "--keepalive-balance/--no-keepalive-balance", Heading.CONNECTIONS,
        "let a worker with far more connections than the mean close some after an answer, so "
        "that their clients reconnect to other workers")
    half_close: bool = setting(False, "--half-close/--no-half-close", Heading.CONNECTIONS,
        "answer a client that has shut down its writing side, as `nc -N` does; without it such a "
        "client counts as gone, and its jobs are stopped")
    proxy_headers: bool = setting(True, "--proxy-headers/--no-proxy-headers", Heading.CONNECTIONS,
        "believe X-Forwarded-For and X-Forwarded-Proto from the addresses in "
        "--forwarded-allow-ips")
    forwarded_allow_ips: tuple[str, ...] = setting(
        ("127.0.0.1", "::1"), "--forwarded-allow-ips ADDRESSES", Heading.CONNECTIONS,
        "addresses and networks of trusted proxies, separated by commas; *: every address")
    root_path: str = setting("", "--root-path PATH", Heading.CONNECTIONS,
        "path below which a proxy publishes the application (ASGI root_path)")
    server_header: bool = setting(False, "--server-header/--no-server-header", Heading.CONNECTIONS,
        "send Server: hybrid in every answer")
    websocket_compression: bool = setting(
        True, "--websocket-compression/--no-websocket-compression", Heading.CONNECTIONS,
        "compress WebSocket messages up to 256 KB for clients that offer permessage-deflate; costs "
        "each of their connections 50 KB, or 80 KB if the client insists on a window of 32 KB")
    websocket_context_takeover: bool = setting(
        True, "--websocket-context-takeover/--no-websocket-context-takeover", Heading.CONNECTIONS,
        "compress with what earlier messages had in common, so that short ones shrink; without it "
        "that memory is held during a message only")
    limit_connections: int = setting(10_000, "--limit-connections 1..", Heading.LIMITS,
        "connections that one worker holds, fewer where `ulimit -n` is too low for them; at the "
        "limit it accepts no more until one ends")
    limit_concurrency: int = setting(0, "--limit-concurrency 0..", Heading.LIMITS,
        "requests that one worker handles at once; more are answered with 503; 0: no limit")
    keepalive_requests: int = setting(0, "--keepalive-requests 0..", Heading.LIMITS,
        "requests that one connection may carry; 0: no limit")
    max_request_line: int = setting(8190, "--max-request-line SIZE", Heading.LIMITS,
        "length of a request line; a longer one is answered with 414")
    max_header_bytes: int = setting(65536, "--max-header-bytes SIZE", Heading.LIMITS,
        "size of all header lines of a request; more is answered with 431")
    max_headers: int = setting(100, "--max-headers 1..", Heading.LIMITS,
        "number of header lines of a request; more are answered with 431")
    max_body: int = setting(64 * 1024 * 1024, "--max-body SIZE", Heading.LIMITS,
        "size of a request body; a larger one is answered with 413; 0: no limit")
    write_buffer: int = setting(256 * 1024, "--write-buffer SIZE", Heading.LIMITS,
        "bytes of answers that a connection keeps for a slow client before the application has "
        "to wait")
    websocket_max_message: int = setting(
        16 * 1024 * 1024, "--websocket-max-message SIZE", Heading.LIMITS,
        "size of a WebSocket message, inflated if it is compressed; a larger one ends the "
        "connection with close code 1009")
    header_timeout: float = setting(10.0, "--header-timeout DURATION>0", Heading.TIMEOUTS,
        "how long the headers of a request may take from their first byte; then the answer is "
        "408")
    body_timeout: float = setting(30.0, "--body-timeout DURATION>0", Heading.TIMEOUTS,
        "how long a client may send nothing of a body that it owes (then the answer is 408), or "
        "read nothing of an answer")
    keep_alive: float = setting(75.0, "--keep-alive DURATION>0", Heading.TIMEOUTS,
        "how long an idle connection is kept open")
    linger: float = setting(1.0, "--linger DURATION", Heading.TIMEOUTS,
        "how long an idle connection may still send one more request while its worker drains")
    websocket_ping: float = setting(20.0, "--websocket-ping DURATION", Heading.TIMEOUTS,
        "time between two pings on a WebSocket; 0: no pings")
    loop: str = setting("auto", "--loop auto|uvloop|asyncio", Heading.WORKERS,
        "event loop of a worker; auto: uvloop where it is installed")


@dataclass(frozen=True, slots=True)
class CpuConfig:
    """The pool of each I/O worker, and the limit over all of them."""

    slots: int = setting(4, "--cpu-pool 0..256", Heading.POOL,
        "jobs that EACH I/O WORKER runs at once; 0: no pool, a job blocks its worker's event "
        "loop")
    limit: int | None = setting(None, "--cpu-limit N|auto|none", Heading.POOL,
        "jobs that the WHOLE CLUSTER runs at once; auto: one per CPU that hybrid may use; none: "
        "no limit", fixed=True)
    lane: str = setting("auto", "--cpu-lane auto|thread|process|inline", Heading.POOL,
        "where jobs run; auto: where each job declares")
    queue: int = setting(64, "--cpu-queue 0..", Heading.POOL,
        "jobs that may wait in each worker; more are answered with 503")
    deadline: float = setting(30.0, "--cpu-deadline DURATION", Heading.POOL,
        "how long a job may wait and run; then the answer is 504; 0: no deadline")
    kill_grace: float = setting(1.0, "--cpu-kill-grace DURATION", Heading.POOL,
        "how long a job may go on after its deadline, or after its client has left, before its "
        "pool process is killed")
    nice: int = setting(19, "--cpu-nice 0..19", Heading.POOL,
        "niceness of pool processes, from 0 to 19")
    max_jobs: int = setting(0, "--cpu-max-jobs 0..", Heading.POOL,
        "jobs after which a pool process is replaced; 0: never")
    max_rss: int = setting(0, "--cpu-max-rss SIZE", Heading.POOL,
        "memory of its own above which a pool process is replaced; 0: never")
    max_memory: int = setting(0, "--cpu-max-memory SIZE", Heading.POOL,
        "memory that a job may allocate in a pool process; then the answer is 507; 0: no limit")
    blas_threads: int = setting(1, "--blas-threads 1..", Heading.POOL,
        "threads of numpy's BLAS in each slot of a pool")


@dataclass(frozen=True, slots=True)
class WsgiConfig:
    """Where a WSGI application runs; an ASGI application runs on the event loop."""

    threads: int = setting(8, "--wsgi-threads 1..1024", Heading.WORKERS,
        "threads of each I/O worker that run a WSGI application; a thread is taken for as long as "
        "the application works on a request or waits for a job")
    queue: int = setting(256, "--wsgi-queue 0..", Heading.LIMITS,
        "requests that may wait in each worker for a thread of a WSGI application; more are "
        "answered with 503")


@dataclass(frozen=True, slots=True)
class RestartConfig:
    """When workers are replaced, and how patient the primary is."""

    intensity: int = 5  # deaths of young workers ...
    period: float = 10.0  # ... within this many seconds before a slot counts as failing
    graceful_timeout: float = setting(30.0, "--graceful-timeout DURATION", Heading.TIMEOUTS,
        "how long a draining worker may take to finish its requests and their jobs")
    boot_timeout: float = setting(60.0, "--boot-timeout DURATION", Heading.TIMEOUTS,
        "how long a new worker may take to become ready; after that a reload is aborted, and a "
        "start logs a warning; 0: no limit")
    max_surge: int = setting(1, "--max-surge 1..", Heading.REPLACEMENT,
        "workers that may run in addition to --io-workers during a replacement")
    max_requests: int = setting(0, "--max-requests 0..", Heading.REPLACEMENT,
        "requests after which a worker is replaced; 0: never")
    max_requests_jitter: int = setting(0, "--max-requests-jitter 0..", Heading.REPLACEMENT,
        "largest random number that is added to --max-requests, drawn for each worker")
    worker_lifetime: float = setting(0.0, "--worker-lifetime DURATION", Heading.REPLACEMENT,
        "age at which a worker is replaced; 0: never")
    worker_max_rss: int = setting(0, "--worker-max-rss SIZE", Heading.REPLACEMENT,
        "resident memory above which a worker is replaced; 0: never")
    hang_timeout: float = setting(0.0, "--hang-timeout DURATION", Heading.REPLACEMENT,
        "how long a worker's event loop may stand still before its stacks are printed and the "
        "worker is replaced; 0: no limit")


@dataclass(frozen=True, slots=True)
class StateConfig:
    """Where `hybrid.state` keeps what all workers share."""

    url: str = setting("sqlite:", "--state URL", Heading.STATE,
        "store of hybrid.state: sqlite:[PATH] (without PATH: a file that ends with the server), "
        "redis://, memcached://, postgresql:// or mongodb://; a password belongs in HYBRID_STATE "
        "or the configuration file")
    required: bool = setting(False, "--state-required/--no-state-required", Heading.STATE,
        "answer /readyz with 503 while the store is away")
    timeout: float = setting(5.0, "--state-timeout DURATION>0", Heading.STATE,
        "how long one call of the store may take; then it counts as away")
    connections: int = setting(8, "--state-connections 1..1000", Heading.STATE,
        "connections that EACH I/O WORKER opens to the store")


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What is written, where and how."""

    level: str = setting("info", "--log-level debug|info|warning|error", Heading.LOGGING,
        "lowest level that is logged")
    format: str = setting("text", "--log-format text|json", Heading.LOGGING,
        "format of log lines")
    access: bool = setting(True, "--access-log/--no-access-log", Heading.LOGGING,
        "write one line per request to standard output")
    block_warning: float = setting(0.1, "--block-warning DURATION", Heading.LOGGING,
        "how long an event loop may be blocked before the line that blocks it is logged; 0: "
        "never")


@dataclass(frozen=True, slots=True)
class ControlConfig:
    """Files and sockets for other programs."""

    pid_file: Path | None = setting(None, "--pid-file FILE", Heading.CONTROL,
        "file that holds the primary's process id while it listens", fixed=True)
    socket: Path | None = setting(None, "--control-socket FILE", Heading.CONTROL,
        "socket for `hybrid status` and the other commands; default: PID.sock in the user's "
        "runtime directory", fixed=True)
    no_socket: bool = setting(False, "--no-control-socket", Heading.CONTROL,
        "create no control socket", fixed=True)


@dataclass(frozen=True, slots=True)
class Config:
    """Everything together; what a fork inherits."""

    io_workers: int = setting(2, "--io-workers -w --workers 1..512", Heading.WORKERS,
        "number of I/O worker processes")
    scheduling: str = setting(
        "shared", "--scheduling shared|reuseport|round-robin|least-loaded", Heading.WORKERS,
        "how a connection finds its worker: all workers accept on one socket (shared) or each on "
        "its own (reuseport), or the primary accepts and passes connections on in turn "
        "(round-robin) or to the worker with the least to do (least-loaded)", fixed=True)
    app: AppConfig = field(default_factory=AppConfig)
    bind: BindConfig = field(default_factory=BindConfig)
    http: HttpConfig = field(default_factory=HttpConfig)
    cpu: CpuConfig = field(default_factory=CpuConfig)
    wsgi: WsgiConfig = field(default_factory=WsgiConfig)
    restart: RestartConfig = field(default_factory=RestartConfig)
    state: StateConfig = field(default_factory=StateConfig)
    log: LogConfig = field(default_factory=LogConfig)
    control: ControlConfig = field(default_factory=ControlConfig)


# fmt: on
def settings() -> dict[Place, Setting]:
    """Return everything that the operator can set, by place, in the order of the fields."""
    config = Config()
    own = [("", item) for item in dataclasses.fields(config)]
    for _, group in list(own):
        value = getattr(config, group.name)
        if dataclasses.is_dataclass(value):
            own += [(group.name, item) for item in dataclasses.fields(value)]
    return {
        (group, item.name): item.metadata["setting"]
        for group, item in own
        if "setting" in item.metadata
    }


def value_at(config: Config, place: Place) -> Any:
    """Return the value of a setting."""
    group, name = place
    return getattr(getattr(config, group) if group else config, name)


def with_values(config: Config, values: Mapping[Place, Any]) -> Config:
    """Return a copy in which these settings have these values."""
    groups: dict[str, dict[str, Any]] = {}
    for (group, name), value in values.items():
        groups.setdefault(group, {})[name] = value
    changed = groups.pop("", {})
    for group, fields in groups.items():
        changed[group] = dataclasses.replace(getattr(config, group), **fields)
    return dataclasses.replace(config, **changed)
