"""The flags of ``hybrid serve`` as one table: flag, group and field, type, help.

A flag's environment variable is ``HYBRID_`` and its name; its key in the
configuration file is its name. Precedence: command line, environment, file,
default. The defaults are those of `hybrid.config`, looked up, never repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from hybrid.cli.types import DURATION, LIMIT, OCTAL, PATIENCE, PEERS, SIZE
from hybrid.config import Config

_FILE = click.Path(dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class Option:
    """One flag and the field it sets; `group` is empty for a field of Config itself."""

    flags: tuple[str, ...]
    group: str
    field: str
    type: Any
    help: str
    multiple: bool = False

    @property
    def name(self) -> str:
        """Return the parameter's name: that of its last long flag, positive form."""
        longest = next(flag for flag in self.flags if flag.startswith("--"))
        return longest.split("/")[0].removeprefix("--").replace("-", "_")

    def default(self, config: Config) -> Any:
        """Return the field's default."""
        owner = getattr(config, self.group) if self.group else config
        return getattr(owner, self.field)


def _choice(*words: str) -> click.Choice[str]:
    return click.Choice(words)


def _at_least(low: int, high: int | None = None) -> click.IntRange:
    return click.IntRange(min=low, max=high)


OPTIONS = (
    Option(
        ("--io-workers", "-w", "--workers"),
        "",
        "io_workers",
        _at_least(1, 512),
        "I/O worker processes",
    ),
    Option(
        ("--scheduling",),
        "",
        "scheduling",
        _choice("shared", "reuseport", "round-robin", "least-loaded"),
        "who accepts: every worker on one listener, each on its own, or the primary, "
        "which passes connections on in turn or to whoever has least to do",
    ),
    Option(
        ("--cpu-pool",),
        "cpu",
        "slots",
        _at_least(0, 256),
        "pool slots PER I/O WORKER: jobs it runs at once; 0: no pool, jobs block the loop",
    ),
    Option(
        ("--cpu-limit",),
        "cpu",
        "limit",
        LIMIT,
        "jobs at once in the WHOLE cluster; auto: the CPU budget",
    ),
    Option(
        ("--cpu-lane",),
        "cpu",
        "lane",
        _choice("auto", "thread", "process", "inline"),
        "where jobs run; auto: where each declares",
    ),
    Option(
        ("--cpu-queue",),
        "cpu",
        "queue",
        _at_least(0),
        "jobs that may wait, per worker; above it 503",
    ),
    Option(
        ("--cpu-deadline",),
        "cpu",
        "deadline",
        DURATION,
        "waiting and running together, then 504; 0: none",
    ),
    Option(
        ("--cpu-kill-grace",),
        "cpu",
        "kill_grace",
        DURATION,
        "from a passed deadline or lost client to SIGKILL",
    ),
    Option(("--cpu-nice",), "cpu", "nice", _at_least(0, 19), "niceness of pool processes"),
    Option(
        ("--cpu-max-jobs",),
        "cpu",
        "max_jobs",
        _at_least(0),
        "jobs after which a pool process is replaced; 0: never",
    ),
    Option(
        ("--cpu-max-rss",),
        "cpu",
        "max_rss",
        SIZE,
        "its own memory above which it is replaced; 0: never",
    ),
    Option(
        ("--cpu-max-memory",),
        "cpu",
        "max_memory",
        SIZE,
        "what one job may allocate in a pool process, then 507; 0: no limit",
    ),
    Option(
        ("--blas-threads",), "cpu", "blas_threads", _at_least(1), "threads of numpy's BLAS per slot"
    ),
    Option(
        ("--app-dir",),
        "app",
        "app_dir",
        click.Path(file_okay=False, exists=True, path_type=Path),
        "folder put first on sys.path",
    ),
    Option(
        ("--preload",),
        "app",
        "preload",
        str,
        "third-party module the primary imports before it forks (repeatable)",
        multiple=True,
    ),
    Option(
        ("--factory",), "app", "factory", bool, "the attribute is called to get the application"
    ),
    Option(
        ("--chaos",),
        "app",
        "chaos",
        bool,
        "let the demonstration application crash, block and leak on request",
    ),
    Option(
        ("--backlog",),
        "bind",
        "backlog",
        _at_least(1),
        "connections the kernel holds until a worker accepts",
    ),
    Option(("--certfile",), "bind", "certfile", _FILE, "PEM chain; TLS on every TCP address"),
    Option(("--keyfile",), "bind", "keyfile", _FILE, "its key, if it is not in the same file"),
    Option(("--unix-mode",), "bind", "unix_mode", OCTAL, "permissions of a Unix socket, octal"),
    Option(("--max-request-line",), "http", "max_request_line", SIZE, "of a request, then 414"),
    Option(("--max-header-bytes",), "http", "max_header_bytes", SIZE, "all lines, then 431"),
    Option(("--max-headers",), "http", "max_headers", _at_least(1), "header lines, then 431"),
    Option(("--max-body",), "http", "max_body", SIZE, "of a request, then 413; 0: no limit"),
    Option(
        ("--body-timeout",),
        "http",
        "body_timeout",
        PATIENCE,
        "without a byte of a body that is owed, then 408; or of an answer taken",
    ),
    Option(("--keep-alive",), "http", "keep_alive", PATIENCE, "an idle connection is kept"),
    Option(
        ("--keepalive-requests",),
        "http",
        "keepalive_requests",
        _at_least(0),
        "requests on one connection; 0: no limit",
    ),
    Option(
        ("--keepalive-balance/--no-keepalive-balance",),
        "http",
        "keepalive_balance",
        bool,
        "a worker with far more connections than the mean lets some answers say close",
    ),
    Option(
        ("--half-close/--no-half-close",),
        "http",
        "half_close",
        bool,
        "a client that shuts down its writing side still gets its answers, as `nc -N` needs; "
        "by default it is gone, and its jobs are stopped",
    ),
    Option(
        ("--linger",),
        "http",
        "linger",
        DURATION,
        "an idle connection may send one more request while its worker drains",
    ),
    Option(
        ("--write-buffer",),
        "http",
        "write_buffer",
        SIZE,
        "kept for a slow reader before the application waits",
    ),
    Option(
        ("--websocket-max-message",),
        "http",
        "websocket_max_message",
        SIZE,
        "inflated, if it is compressed; then close code 1009",
    ),
    Option(
        ("--websocket-compression/--no-websocket-compression",),
        "http",
        "websocket_compression",
        bool,
        "permessage-deflate for clients that offer it, of messages up to 256 KB; costs each of "
        "their connections 50 KB, 80 KB if the client insists on a window of 32 KB",
    ),
    Option(
        ("--websocket-context-takeover/--no-websocket-context-takeover",),
        "http",
        "websocket_context_takeover",
        bool,
        "compress with what earlier messages had in common, so that short ones shrink; without it "
        "that memory is held during a message only",
    ),
    Option(("--websocket-ping",), "http", "websocket_ping", DURATION, "between two pings; 0: none"),
    Option(
        ("--proxy-headers/--no-proxy-headers",),
        "http",
        "proxy_headers",
        bool,
        "believe X-Forwarded-For and -Proto of the peers below",
    ),
    Option(
        ("--forwarded-allow-ips",),
        "http",
        "forwarded_allow_ips",
        PEERS,
        "addresses and networks of trusted proxies, with commas; *: everybody",
    ),
    Option(
        ("--server-header/--no-server-header",),
        "http",
        "server_header",
        bool,
        "say Server: hybrid in every answer",
    ),
    Option(
        ("--header-timeout",),
        "http",
        "header_timeout",
        PATIENCE,
        "from the first byte of a request to the end of its headers, then 408",
    ),
    Option(
        ("--limit-concurrency",),
        "http",
        "limit_concurrency",
        _at_least(0),
        "requests at once per worker, then 503; 0: no limit",
    ),
    Option(
        ("--limit-connections",),
        "http",
        "limit_connections",
        _at_least(1),
        "connections per worker; then it pauses accepting (fewer where `ulimit -n` is too low)",
    ),
    Option(("--root-path",), "http", "root_path", str, "ASGI root_path"),
    Option(
        ("--loop",),
        "http",
        "loop",
        _choice("auto", "uvloop", "asyncio"),
        "event loop; auto: uvloop where installed",
    ),
    Option(
        ("--graceful-timeout",), "restart", "graceful_timeout", DURATION, "a draining worker has"
    ),
    Option(
        ("--boot-timeout",),
        "restart",
        "boot_timeout",
        DURATION,
        "a new worker has until it is ready; then a reload is given up, a start warns; 0: for ever",
    ),
    Option(
        ("--max-surge",),
        "restart",
        "max_surge",
        _at_least(1),
        "workers above --io-workers while replacing",
    ),
    Option(
        ("--max-requests",),
        "restart",
        "max_requests",
        _at_least(0),
        "requests after which a worker is replaced; 0: never",
    ),
    Option(
        ("--max-requests-jitter",),
        "restart",
        "max_requests_jitter",
        _at_least(0),
        "added to it at random, for each worker anew",
    ),
    Option(
        ("--worker-lifetime",),
        "restart",
        "worker_lifetime",
        DURATION,
        "after which a worker is replaced; 0: never",
    ),
    Option(
        ("--worker-max-rss",),
        "restart",
        "worker_max_rss",
        SIZE,
        "resident memory above which a worker is replaced; 0: never",
    ),
    Option(
        ("--hang-timeout",),
        "restart",
        "hang_timeout",
        DURATION,
        "without a tick of its event loop, then a worker's stacks are printed and it is "
        "replaced; 0: never",
    ),
    Option(
        ("--block-warning",),
        "log",
        "block_warning",
        DURATION,
        "a blocked event loop is logged with the line that blocks it; 0: never",
    ),
    Option(
        ("--reload",), "app", "reload", bool, "watch the files below --app-dir, reload on a change"
    ),
    Option(
        ("--log-level",),
        "log",
        "level",
        _choice("debug", "info", "warning", "error"),
        "least level that is written",
    ),
    Option(("--log-format",), "log", "format", _choice("text", "json"), "of every line"),
    Option(
        ("--access-log/--no-access-log",), "log", "access", bool, "one line per request, to stdout"
    ),
    Option(
        ("--pid-file",), "control", "pid_file", _FILE, "written when listening, removed at the end"
    ),
    Option(
        ("--control-socket",),
        "control",
        "socket",
        _FILE,
        "for `hybrid status` and the like; default: in a private runtime directory",
    ),
    Option(("--no-control-socket",), "control", "no_socket", bool, "do without it"),
)
_FIRST = Config()


def add_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a click command with every flag of the table."""
    for option in reversed(OPTIONS):
        default = option.default(_FIRST)
        if option.field == "limit":
            default = "auto"
        elif option.field == "unix_mode":
            default = f"{default:o}"
        elif option.field == "forwarded_allow_ips":
            default = ",".join(default)
        kwargs: dict[str, Any] = {"is_flag": True} if option.type is bool else {"type": option.type}
        command = click.option(
            *option.flags,
            option.name,
            default=list(default) if option.multiple else default,
            multiple=option.multiple,
            show_default=not option.multiple,
            show_envvar=False,
            help=option.help,
            **kwargs,
        )(command)
    return command
