"""``hybrid check``: the options and the application of ``hybrid serve``, without serving."""

from __future__ import annotations

import logging
import sys
from typing import Any

import click

from hybrid.cli.logs import configure_logging
from hybrid.cli.serve import check as load_in_a_child
from hybrid.cli.serve import serve
from hybrid.cli.settings import ServeCommand, build_config
from hybrid.errors import ConfigError

logger = logging.getLogger("hybrid.error")

_HELP = """Check settings and application as `hybrid serve` would use them.

\b
The last step of a deployment, before `hybrid reload`:
  hybrid check shop.app:app -c hybrid.toml && hybrid reload

Takes every option of `hybrid serve`. Exit codes: 0 valid, 1 configuration
error, 2 usage error, 4 the application cannot be imported or served.
"""
_NOT_HERE = ("check_config", "print_config")


def _run(**values: Any) -> None:
    config = build_config(click.get_current_context())
    configure_logging(config.log)
    try:
        code = load_in_a_child(config)
    except ConfigError as ex:
        logger.error("%s", ex)
        code = 1
    sys.exit(code)


check = ServeCommand(
    "check",
    help=_HELP,
    params=[param for param in serve.params if param.name not in _NOT_HERE],
    callback=_run,
    context_settings=serve.context_settings,
)
