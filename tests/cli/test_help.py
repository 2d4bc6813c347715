"""The help of every command: whole at 80 columns, and in plain English."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest

from hybrid.cli import cli

# A thing is named, not called "who"; what is meant by "nobody" is a process or a caller.
NOT_PLAIN = re.compile(
    r"\b(who|whoever|whom|nobody|somebody|everybody|beside|elder|shall|meanwhile|for ever"
    r"|so many|so long|so old|is no|are no)\b|, too\b",
    re.IGNORECASE,
)


def commands(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    yield " ".join(path), group
    with click.Context(group) as ctx:
        for name in group.list_commands(ctx):
            command = group.get_command(ctx, name)
            assert command is not None
            if isinstance(command, click.Group):
                yield from commands(command, (*path, name))
            else:
                yield " ".join((*path, name)), command


EVERY = dict(commands(cli, ("hybrid",)))


@pytest.mark.parametrize("path", EVERY)
def test_help_fits_80_columns_and_is_not_cut(path: str) -> None:
    command = EVERY[path]
    text = command.get_help(click.Context(command, info_name=path, terminal_width=80))
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert "..." not in text.replace("[ARGS]...", "")


@pytest.mark.parametrize("path", EVERY)
def test_every_option_has_a_help_that_stands_by_itself(path: str) -> None:
    command = EVERY[path]
    for param in command.params:
        if isinstance(param, click.Option):
            assert param.help, param.name
            assert param.help.split()[0] not in ("of", "for", "then", "between", "then,"), param
    assert not NOT_PLAIN.search(command.get_help(click.Context(command, info_name=path)))
