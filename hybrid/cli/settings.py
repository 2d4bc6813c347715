"""From what the operator wrote to a `Config`, and where each value came from."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from hybrid.cli.options import OPTIONS
from hybrid.cli.types import PEERS, as_written
from hybrid.config import BindConfig, Config
from hybrid.errors import ConfigError
from hybrid.system.activation import passed_sockets
from hybrid.system.cpu_budget import cpu_budget

_ORIGINS = {
    ParameterSource.COMMANDLINE: "command line",
    ParameterSource.ENVIRONMENT: "environment",
    ParameterSource.DEFAULT_MAP: "configuration file",
    ParameterSource.DEFAULT: "default",
    ParameterSource.PROMPT: "prompt",
}


_ARGUMENTS = "hybrid.arguments"  # key in a context's meta
_NO_KEYS = ("config", "help", "check_config", "print_config")  # mean nothing in a file


class ServeCommand(click.Command):
    """Remembers its arguments, so that a reload can read everything again."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as any command does."""
        ctx.meta[_ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)


def reader_again(ctx: click.Context) -> Callable[[], Config]:
    """Return what builds the configuration anew: same arguments, the file as it is then."""
    command, arguments = ctx.command, list(ctx.meta[_ARGUMENTS])

    def reread() -> Config:
        try:
            return build_config(command.make_context("serve", list(arguments)))
        except click.ClickException as ex:
            raise ConfigError(ex.format_message()) from ex

    return reread


def load_file(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Read the configuration file into click's default map; an eager option's callback.

    Keys are flag names with - or _; a key that is no flag is a usage error,
    because a misspelt limit must not silently be no limit.
    """
    if value is None:
        return None
    try:
        content = tomllib.loads(value.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as ex:
        raise click.BadParameter(f"{value}: {ex}", ctx, param) from ex
    known = {p.name: p for p in ctx.command.params if p.name not in _NO_KEYS}
    settings = {key.replace("-", "_"): item for key, item in content.items()}
    unknown = sorted(set(settings) - known.keys())
    if unknown:
        raise click.BadParameter(f"{value}: unknown key {', '.join(unknown)}", ctx, param)
    try:
        written = {key: as_written(known[key], item) for key, item in settings.items()}
    except ConfigError as ex:
        raise click.BadParameter(f"{value}: {ex}", ctx, param) from ex
    ctx.default_map = {**(ctx.default_map or {}), **written}
    return value


def build_config(ctx: click.Context) -> Config:
    """Return the configuration of this call of ``hybrid serve``."""
    values = dict(ctx.params)
    _honour_common_variables(ctx, values)
    groups: dict[str, dict[str, Any]] = {}
    for option in OPTIONS:
        value = values[option.name]
        if option.multiple:
            value = tuple(value)
        groups.setdefault(option.group, {})[option.field] = value
    groups["cpu"]["limit"] = _limit(values["cpu_limit"])
    groups["app"]["target"] = values["app"]
    groups["bind"]["addresses"] = _addresses(ctx, values)
    config = Config(**groups.pop(""))
    changed = {
        name: dataclasses.replace(getattr(config, name), **fields)
        for name, fields in groups.items()
    }
    return dataclasses.replace(config, **changed)


def origins(ctx: click.Context) -> list[tuple[str, Any, str]]:
    """Return (flag, value, where it came from) for ``--print-config``."""
    rows = []
    for param in ctx.command.params:
        name = param.name or ""
        if name in ("config", "print_config", "check_config", "help"):
            continue
        source = ctx.get_parameter_source(name) or ParameterSource.DEFAULT
        rows.append((name.replace("_", "-"), ctx.params.get(name), _ORIGINS[source]))
    return rows


def _addresses(ctx: click.Context, values: dict[str, Any]) -> tuple[str, ...]:
    """Return where to listen: what was written, else systemd's sockets, else the default."""
    if values["bind"]:
        return tuple(values["bind"])
    host, port = values["host"], values["port"]
    if host is None and port is None:
        return passed_sockets(os.environ) or BindConfig().addresses
    host = "127.0.0.1" if host is None else host
    text = f"[{host}]" if ":" in host else host
    return (f"{text}:{8000 if port is None else port}",)


def _honour_common_variables(ctx: click.Context, values: dict[str, Any]) -> None:
    """PORT, WEB_CONCURRENCY, FORWARDED_ALLOW_IPS, set by platforms; weaker than our own names."""
    for name, variable in (("port", "PORT"), ("io_workers", "WEB_CONCURRENCY")):
        text = os.environ.get(variable)
        if not text or ctx.get_parameter_source(name) is not ParameterSource.DEFAULT:
            continue
        if not text.isdecimal() or int(text) > 65535:
            raise click.UsageError(f"{variable}={text!r} is no number")
        values[name] = int(text)
        if name == "io_workers" and int(text) < 1:
            raise click.UsageError("WEB_CONCURRENCY must be at least 1")
    peers, name = os.environ.get("FORWARDED_ALLOW_IPS"), "forwarded_allow_ips"
    if peers is not None and ctx.get_parameter_source(name) is ParameterSource.DEFAULT:
        values[name] = PEERS.convert(peers, None, ctx)


def _limit(text: str) -> int | None:
    if text == "none":
        return None
    return cpu_budget() if text == "auto" else int(text)
