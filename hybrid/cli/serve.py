"""``hybrid serve``: from flags to a running cluster."""

from __future__ import annotations

import errno
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from hybrid import __version__
from hybrid.cli.logs import configure_logging
from hybrid.cli.options import parameters
from hybrid.cli.settings import ServeCommand, build_config, origins, reader_again
from hybrid.config import Config
from hybrid.errors import AppLoadError, ConfigError
from hybrid.system.process.cpu_budget import cpu_budget

logger = logging.getLogger("hybrid.error")

_HELP = """Serve an ASGI or WSGI application from a cluster of I/O workers.

\b
APP is module:attribute; without it the demonstration application is served.

\b
Examples:
  hybrid serve --io-workers 8 --cpu-pool 4
  hybrid serve shop.app:app --bind 0.0.0.0:8080 --bind unix:/run/shop.sock
  hybrid serve --cpu-lane process --cpu-limit 2 --cpu-deadline 10s
"""


@click.pass_context
def _serve(ctx: click.Context, /, **values: Any) -> None:
    """Turn flags into a `Config` and run the primary."""
    config = build_config(ctx)
    if values["print_config"]:
        for name, value, origin in origins(ctx):
            click.echo(f"{name:22} {value:34} {origin}")
        return
    configure_logging(config.log)
    try:
        code = check(config) if values["check_config"] else run(config, reader_again(ctx))
    except ConfigError as ex:
        logger.error("%s", ex)
        code = 1
    except OSError as ex:
        if ex.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        logger.error("there are too few descriptors to start with (ulimit -n)")
        code = 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # one more Ctrl-C must not become a traceback
    sys.exit(code)


serve = ServeCommand(
    "serve",
    help=_HELP,
    params=parameters(),
    callback=_serve,
    context_settings={"auto_envvar_prefix": "HYBRID", "show_default": True},
)


def check(config: Config) -> int:
    """Load the application in a child process, as a worker would; return the exit code."""
    from hybrid.http.tls import server_context
    from hybrid.shared_state.address import check_driver
    from hybrid.system.process.blas import limit_before_import
    from hybrid.system.process.fork import fork_child
    from hybrid.worker.application import load_application

    limit_before_import(1)
    check_driver(config.state.url)
    if config.bind.certfile is not None:
        server_context(config.bind.certfile, config.bind.keyfile)

    def load() -> int:
        try:
            load_application(config.app)
        except AppLoadError as ex:
            logger.error("%s", ex)
            return 4
        return 0

    child = fork_child(load, keep=())
    _, status = os.waitpid(child.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        click.echo(f"{config.app.target} and the settings are valid")
    return code


def run(config: Config, reread: Callable[[], Config]) -> int:
    """Bind, preload, fork, supervise; return the exit code.

    Args:
        config: what is in force first.
        reread: builds the configuration again for a reload.

    Raises:
        ConfigError: an address cannot be bound, a module not preloaded, or the
            pid file belongs to another server.
    """
    began = time.monotonic()
    from hybrid.system.process.blas import limit_before_import

    limit_before_import(1)  # the next lines import numpy
    from hybrid.primary.operator.configuration import Configuration
    from hybrid.primary.operator.notify import Notifier
    from hybrid.primary.operator.pidfile import PidFile
    from hybrid.primary.operator.watching import check_available
    from hybrid.primary.serving import ServingPrimary
    from hybrid.primary.startup.opening import open_cluster, serving_rows
    from hybrid.shared_state.address import check_driver
    from hybrid.shared_state.stores.embedded_file import embedded_store

    if config.app.reload:
        check_available()
    check_driver(config.state.url)
    opened = open_cluster(config, serving_rows(config), began)
    budget = cpu_budget()
    _warn_of_oversubscription(config, budget)

    def on_ready(generation: int) -> None:
        took = time.monotonic() - began
        if generation == 1:
            threads = max(int(row.get("wsgi_threads")) for row in opened.scoreboard.rows())
            logger.info("%s", banner(config, opened.address, budget, took, threads))
        else:
            logger.info("generation %d is ready", generation)

    with opened.listening, PidFile(config.control.pid_file), embedded_store():
        return ServingPrimary(
            opened,
            on_ready,
            Configuration(config, reread),
            Notifier.from_environment(os.environ),
            configure_logging,
        ).run()


def banner(config: Config, address: str, budget: int, took: float, wsgi_threads: int) -> str:
    """Return the lines that are logged when every worker is ready.

    `wsgi_threads` are those of each worker; 0: the application is an ASGI application.
    """
    n, m, limit = config.io_workers, config.cpu.slots, config.cpu.limit
    workers = f"{n} I/O worker{'s' if n != 1 else ''}"
    cpus = f"{budget} CPU{'s' if budget != 1 else ''}"
    if m == 0 or config.cpu.lane == "inline":
        pool = f"{workers}, no pool: a job blocks its worker's loop; {cpus}"
    else:
        at_once = n * m if limit is None else min(limit, n * m)
        slots, jobs = (
            f"{m} slot{'s' if m != 1 else ''}",
            f"{at_once} job{'s' if at_once != 1 else ''}",
        )
        pool = f"{workers} × {slots}, at most {jobs} at once on a budget of {cpus}"
    interface = ""
    if wsgi_threads:
        interface = f"WSGI on {wsgi_threads} thread{'s' if wsgi_threads != 1 else ''} a worker; "
    return (
        f"hybrid {__version__} listening on {address} (pid {os.getpid()})\n"
        f"  {config.app.target}: {interface}{pool}\n"
        f"  ready after {took:.2f} s; Ctrl-C finishes all requests and stops, a second one at once"
    )


def _warn_of_oversubscription(config: Config, budget: int) -> None:
    jobs = config.io_workers * config.cpu.slots
    if config.cpu.limit is not None:
        jobs = min(jobs, config.cpu.limit)
    threads = jobs * config.cpu.blas_threads
    if config.cpu.slots and not math.isclose(threads, budget) and threads > 1.5 * budget:
        logger.warning(
            "%d jobs at once × %d BLAS threads on %d CPUs: they will slow each other and "
            "the I/O down; --cpu-limit auto keeps to the budget",
            jobs,
            config.cpu.blas_threads,
            budget,
        )
