"""What the operator can set, as small frozen groups without behaviour.

Every group is a value: the command line builds them once, the primary forks
with them, nobody changes them. Durations are seconds as float, sizes bytes.
A limit of 0 means "no limit" wherever the field says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class AppConfig:
    """Which application, and how to find it."""

    target: str = "workloads.app:app"  # module:attribute
    factory: bool = False  # attribute is called without arguments to get the application
    app_dir: Path = Path()  # put first on sys.path in workers and pool processes
    reload: bool = False  # watch the files below app_dir, reload when one changes
    preload: tuple[str, ...] = ()  # third-party modules the primary imports before it forks
    chaos: bool = False  # the demonstration application may crash, block and leak on request


@dataclass(frozen=True, slots=True)
class BindConfig:
    """Where to listen."""

    addresses: tuple[str, ...] = ("127.0.0.1:8000",)  # HOST:PORT, unix:PATH or fd://N
    backlog: int = 2048  # connections the kernel holds for us
    unix_mode: int = 0o666  # permissions of a Unix socket we create
    certfile: Path | None = None  # PEM chain; with keyfile: TLS on every TCP address
    keyfile: Path | None = None


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """Limits and habits of a connection."""

    max_request_line: int = 8190  # bytes; 414
    max_header_bytes: int = 65536  # bytes of all header lines together; 431
    max_headers: int = 100  # header lines; 431
    max_body: int = 64 * 1024 * 1024  # bytes; 413; 0: no limit
    header_timeout: float = 10.0  # s from the first byte to the end of the headers; 408
    body_timeout: float = 30.0  # s without a byte of a body that is still owed; 408
    keep_alive: float = 75.0  # s an idle connection is kept
    keepalive_requests: int = 0  # requests on one connection; 0: no limit
    keepalive_balance: bool = True  # give up connections above the mean of all workers
    limit_connections: int = 10_000  # per worker; above it accepting pauses
    limit_concurrency: int = 0  # requests at once per worker; above it 503; 0: no limit
    half_close: bool = False  # a client that sends no more may still wait for its answers
    linger: float = 1.0  # s an idle connection may still send one request while draining
    write_buffer: int = 256 * 1024  # bytes kept for a slow reader before the application waits
    websocket_max_message: int = 16 * 1024 * 1024  # bytes; close code 1009
    websocket_compression: bool = True  # permessage-deflate (RFC 7692), where the client offers it
    websocket_context_takeover: bool = True  # the compressor remembers messages before
    websocket_ping: float = 20.0  # s between pings; 0: none
    proxy_headers: bool = True  # believe X-Forwarded-* of the peers below
    forwarded_allow_ips: tuple[str, ...] = ("127.0.0.1", "::1")  # addresses, networks or "*"
    root_path: str = ""
    server_header: bool = False
    loop: str = "auto"  # auto: uvloop where it is installed; uvloop; asyncio


@dataclass(frozen=True, slots=True)
class CpuConfig:
    """The pool of each I/O worker, and the limit over all of them."""

    slots: int = 4  # jobs at once per worker; 0: no pool, jobs run inline
    limit: int | None = None  # jobs at once in the whole cluster; None: no limit
    lane: str = "auto"  # auto: what the job declares; thread, process, inline: for every job
    queue: int = 64  # places in line per worker; above it 503
    deadline: float = 30.0  # s for waiting and running together; 0: none
    kill_grace: float = 1.0  # s beyond the deadline or the client's departure, then SIGKILL
    nice: int = 19  # of pool processes
    max_jobs: int = 0  # jobs after which a pool process is replaced; 0: never
    max_rss: int = 0  # bytes of its own memory above which it is replaced; 0: never
    max_memory: int = 0  # bytes a job may allocate in a pool process (RLIMIT_DATA); 0: no limit
    blas_threads: int = 1  # threads of numpy's BLAS per slot


@dataclass(frozen=True, slots=True)
class RestartConfig:
    """When workers are replaced, and how patient the primary is."""

    graceful_timeout: float = 30.0  # s a draining worker has
    intensity: int = 5  # young deaths ...
    period: float = 10.0  # ... in so many seconds before a slot is a failing one
    max_surge: int = 1  # workers above the wanted number during a replacement
    boot_timeout: float = 60.0  # s until READY, then a warning; a reload is aborted; 0: never
    max_requests: int = 0  # requests after which a worker is replaced; 0: never
    max_requests_jitter: int = 0  # at random added to it
    worker_lifetime: float = 0.0  # s after which a worker is replaced; 0: never
    worker_max_rss: int = 0  # bytes of resident memory above which it is replaced; 0: never
    hang_timeout: float = 0.0  # s without a tick of the loop, then stacks and SIGKILL; 0: never


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What is written, where and how."""

    level: str = "info"
    format: str = "text"  # text or json
    access: bool = True  # one line per request
    block_warning: float = 0.1  # s; a loop blocked for longer is logged with the line that blocks


@dataclass(frozen=True, slots=True)
class ControlConfig:
    """Files and sockets for other programs."""

    pid_file: Path | None = None
    socket: Path | None = None  # None: PID.sock in the user's runtime directory
    no_socket: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """Everything together; what a fork inherits."""

    io_workers: int = 2
    scheduling: str = "shared"  # how connections find a worker; hybrid.core.scheduling
    app: AppConfig = field(default_factory=AppConfig)
    bind: BindConfig = field(default_factory=BindConfig)
    http: HttpConfig = field(default_factory=HttpConfig)
    cpu: CpuConfig = field(default_factory=CpuConfig)
    restart: RestartConfig = field(default_factory=RestartConfig)
    log: LogConfig = field(default_factory=LogConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
