"""From what the operator wrote to a `Config`, and where each value came from."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from hybrid.cli.types import PEERS, as_typed, as_written
from hybrid.config import BindConfig, Config, settings, with_values
from hybrid.errors import ConfigError
from hybrid.setting import Heading
from hybrid.system.process.cpu_budget import cpu_budget
from hybrid.system.sockets.listeners import passed_sockets

_DEFAULT = "default"
_ORIGINS = {
    ParameterSource.COMMANDLINE: "command line",
    ParameterSource.ENVIRONMENT: "environment",
    ParameterSource.DEFAULT_MAP: "configuration file",
    ParameterSource.DEFAULT: _DEFAULT,
    ParameterSource.PROMPT: "prompt",
}
# What platforms set; weaker than our own variables.
_PLATFORM = {
    "port": "PORT",
    "io_workers": "WEB_CONCURRENCY",
    "forwarded_allow_ips": "FORWARDED_ALLOW_IPS",
}
_ARGUMENTS = "hybrid.arguments"  # key in a context's meta
_HYPHEN = "\N{NON-BREAKING HYPHEN}"  # lines would break within --forwarded-allow-ips
_NO_KEYS = ("config", "help", "check_config", "print_config")  # mean nothing in a file


class ServeCommand(click.Command):
    """Shows its options under headings, and remembers its arguments for a reload."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as any command does."""
        ctx.meta[_ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings, those without one under the last."""
        records: dict[Heading, list[tuple[str, str]]] = {heading: [] for heading in Heading}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)):
                flags, text = record
                heading = getattr(param, "heading", Heading.CONFIGURATION)
                records[heading].append((flags, text.replace("-", _HYPHEN)))
        inner = click.HelpFormatter(width=formatter.width)
        for heading, rows in records.items():
            with inner.section(heading.value):
                inner.write_dl(rows)
        formatter.write(inner.getvalue().replace(_HYPHEN, "-"))


def reader_again(ctx: click.Context) -> Callable[[], Config]:
    """Return what builds the configuration again: same arguments, the file as it is then."""
    command, arguments = ctx.command, list(ctx.meta[_ARGUMENTS])

    def reread() -> Config:
        try:
            return build_config(command.make_context("serve", list(arguments)))
        except click.ClickException as ex:
            raise ConfigError(ex.format_message()) from ex

    return reread


def load_file(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Read the configuration file into click's default map; an eager option's callback.

    Keys are flag names with - or _; an unknown key is a usage error, because a
    misspelt limit must not silently be no limit.
    """
    if value is None:
        return None
    try:
        content = tomllib.loads(value.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as ex:
        raise click.BadParameter(f"{value}: {ex}", ctx, param) from ex
    known = {p.name: p for p in ctx.command.params if p.name not in _NO_KEYS}
    found = {key.replace("-", "_"): item for key, item in content.items()}
    unknown = sorted(set(found) - known.keys())
    if unknown:
        raise click.BadParameter(f"{value}: unknown key {', '.join(unknown)}", ctx, param)
    try:
        written = {key: as_written(known[key], item) for key, item in found.items()}
    except ConfigError as ex:
        raise click.BadParameter(f"{value}: {ex}", ctx, param) from ex
    ctx.default_map = {**(ctx.default_map or {}), **written}
    return value


def build_config(ctx: click.Context) -> Config:
    """Return the configuration of this call of ``hybrid serve``."""
    given = _given(ctx)
    values = {place: given[about.parameter][0] for place, about in settings().items()}
    values["app", "target"] = given["app"][0]
    values["cpu", "limit"] = _limit(values["cpu", "limit"])
    return with_values(Config(), values)


def origins(ctx: click.Context) -> list[tuple[str, str, str]]:
    """Return (key, value as typed, where it comes from) for ``--print-config``."""
    given, kinds = _given(ctx), {param.name: param.type for param in ctx.command.params}
    names = ["app", *(about.parameter for about in settings().values())]
    return [
        (name.replace("_", "-"), _shown(as_typed(kinds[name], given[name][0])), given[name][1])
        for name in names
    ]


def _given(ctx: click.Context) -> dict[str, tuple[Any, str]]:
    """Return value and origin of every parameter, by its name."""
    given: dict[str, tuple[Any, str]] = {}
    for param in ctx.command.params:
        name = param.name or ""
        source = ctx.get_parameter_source(name) or ParameterSource.DEFAULT
        given[name] = (ctx.params.get(name), _ORIGINS[source])
        variable = _PLATFORM.get(name, "")
        text = os.environ.get(variable, "")
        # An empty list of proxies trusts none of them; an empty number says nothing.
        said = text or (param.type is PEERS and variable in os.environ)
        if said and source is ParameterSource.DEFAULT:
            given[name] = (_of_platform(variable, param, text), f"environment ({variable})")
    given["bind"] = _addresses(given)
    return given


def _of_platform(variable: str, param: click.Parameter, text: str) -> Any:
    try:
        return param.type(text, param)
    except click.BadParameter as ex:
        raise click.UsageError(f"{variable}: {ex.message}") from ex


def _addresses(given: dict[str, tuple[Any, str]]) -> tuple[tuple[str, ...], str]:
    """Return where to listen: what was written, else systemd's sockets, else the default."""
    written, origin = given["bind"]
    if written and origin != _DEFAULT:
        return written, origin
    (host, host_origin), (port, port_origin) = given["host"], given["port"]
    if host is None and port is None:
        passed = passed_sockets(os.environ)
        return (passed, "systemd") if passed else (BindConfig().addresses, _DEFAULT)
    origin = port_origin if host is None else host_origin
    host = "127.0.0.1" if host is None else host
    text = f"[{host}]" if ":" in host else host
    return (f"{text}:{8000 if port is None else port}",), origin


def _limit(text: str) -> int | None:
    if text == "none":
        return None
    return cpu_budget() if text == "auto" else int(text)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value in (None, "", ()):
        return "-"
    return ",".join(value) if isinstance(value, tuple) else str(value)
