"""Parameter types: durations, sizes and the CPU limit as people write them."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from hybrid.errors import ConfigError
from hybrid.http.request.forwarded import TrustedPeers
from hybrid.shared_state.address import check_address, has_password, hide_password

_SECONDS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MOST = 2**62  # bytes; what the kernel and numpy still take as a size
_BYTES = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30}

T = TypeVar("T")


class Typed(click.ParamType[T]):
    """A type whose values can be written again as the operator types them."""

    def text(self, value: T) -> str:
        """Return what `convert` reads as this value."""
        return str(value)


class Duration(Typed[float]):
    """Seconds as float: ``30``, ``30s``, ``250ms``, ``5m``, ``1h``."""

    name = "duration"

    def text(self, value: float) -> str:
        """Return it in the largest unit of which it is a multiple."""
        for unit, seconds in (("d", 86400), ("h", 3600), ("m", 60)):
            if value and value % seconds == 0:
                return f"{value / seconds:.0f}{unit}"
        if 0 < value < 1:
            return f"{value * 1000:.12g}ms"
        return f"{value:.12g}s" if value else "0"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return seconds."""
        if isinstance(value, int | float):
            return float(value)
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)", str(value).strip())
        if match is None:
            self.fail(f"{value!r} is not a duration; write 30, 30s, 250ms or 5m", param, ctx)
        return float(match[1]) * _SECONDS[match[2]]


class Size(Typed[int]):
    """Bytes: ``1048576``, ``64k``, ``16M``, ``2G``."""

    name = "size"

    def text(self, value: int) -> str:
        """Return it in the largest unit of which it is a multiple."""
        for unit, size in (("g", 2**30), ("m", 2**20), ("k", 2**10)):
            if value and value % size == 0:
                return f"{value // size}{unit}"
        return str(value)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return bytes."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+)\s*([kmg]?)i?b?", str(value).strip().lower())
        if match is None:
            self.fail(f"{value!r} is not a size; write 1048576, 64k, 16M or 2G", param, ctx)
        size = int(match[1]) * _BYTES[match[2]]
        if size > _MOST:
            self.fail(f"{value!r} is more than any machine has", param, ctx)
        return size


class Count(click.IntRange):
    """A whole number within bounds."""

    name = "whole number"


class Limit(click.ParamType[str]):
    """``auto``, ``none`` or a number of at least 1."""

    name = "N|auto|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the word, or the number as text."""
        text = str(value).lower()
        if text in ("auto", "none") or (text.isdecimal() and int(text) >= 1):
            return text
        self.fail(f"{value!r} is not auto, none or a number of at least 1", param, ctx)


class Patience(Duration):
    """A duration above zero: 0 would not mean "no limit", it would refuse all clients."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return seconds."""
        seconds = super().convert(value, param, ctx)
        if seconds <= 0:
            self.fail("must be above 0; 24h is practically no limit", param, ctx)
        return seconds


class Octal(Typed[int]):
    """Permissions of a file: ``660``."""

    name = "octal"

    def text(self, value: int) -> str:
        """Return its digits."""
        return f"{value:o}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the mode as a number."""
        if isinstance(value, int):
            return value
        if re.fullmatch(r"(0o)?[0-7]{3,4}", str(value)) is None:
            self.fail(f"{value!r} is not a mode; write 660 or 0660", param, ctx)
        return int(str(value).removeprefix("0o"), 8)


class Peers(Typed[tuple[str, ...]]):
    """Addresses and networks: ``127.0.0.1,10.0.0.0/8``, or ``*``."""

    name = "addresses"

    def text(self, value: tuple[str, ...]) -> str:
        """Return the entries with commas."""
        return ",".join(value)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Return the entries; each is an address, a network or ``*``."""
        entries = value if isinstance(value, tuple | list) else str(value).split(",")
        peers = tuple(str(entry).strip() for entry in entries if str(entry).strip())
        try:
            TrustedPeers(peers)
        except ConfigError as ex:
            self.fail(str(ex), param, ctx)
        return peers


class StateUrl(Typed[str]):
    """The address of a store. A password may not be written on the command line."""

    name = "url"

    def text(self, value: str) -> str:
        """Return it without its password, which no listing shows."""
        return hide_password(value)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return it as it is; every user of the host can read the command line in `ps`."""
        url = str(value)
        try:
            check_address(url)
        except ConfigError as ex:
            self.fail(str(ex), param, ctx)
        name = param.name if param is not None and param.name else ""
        source = ctx.get_parameter_source(name) if ctx is not None else None
        if source is ParameterSource.COMMANDLINE and has_password(url):
            self.fail(
                f"{hide_password(url)}: everybody can read a password on the command line; "
                "write the address to HYBRID_STATE or the configuration file",
                param,
                ctx,
            )
        return url


DURATION, PATIENCE, SIZE, LIMIT = Duration(), Patience(), Size(), Limit()
OCTAL, PEERS, STATE_URL = Octal(), Peers(), StateUrl()


def as_typed(kind: click.ParamType[Any] | None, value: Any) -> Any:
    """Return a value as the operator types it, where its type says how; else the value."""
    return kind.text(value) if isinstance(kind, Typed) else value


def as_written(param: click.Parameter, value: Any) -> Any:
    """Return a value of the configuration file as the command line would have given it.

    A number that is not a duration, or a fraction in place of a count, is then
    refused by the same rule and with the same words as on the command line.

    Raises:
        ConfigError: this flag has no values of this kind.
    """
    name = (param.name or "").replace("_", "-")
    if isinstance(param, click.Option) and param.is_flag:
        if not isinstance(value, bool):
            raise ConfigError(f"{name} is true or false, not {value!r}")
        return value
    if isinstance(value, list):
        entries = [_as_text(name, entry) for entry in value]
        if param.multiple:
            return entries
        if param.type is PEERS:
            return ",".join(entries)
    elif not (param.type is OCTAL and isinstance(value, int)):
        text = _as_text(name, value)
        return [text] if param.multiple else text
    hint = ': write it as text, "660"' if param.type is OCTAL else ""
    raise ConfigError(f"{name} cannot be {value!r}{hint}")


def _as_text(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ConfigError(f"{name} cannot be {value!r}")
    return str(value)
