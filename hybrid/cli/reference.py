"""The tables of CONFIGURATION.md, made from the flags of ``hybrid serve``.

``python -m hybrid.cli.reference FILE`` replaces what stands between the two marks.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from hybrid.cli.options import Flag, parameters
from hybrid.config import settings
from hybrid.setting import Heading

BEGIN, END = "<!-- flags -->", "<!-- /flags -->"


def tables() -> str:
    """Return a table of flags for every heading; † marks what a reload cannot change."""
    flags = [param for param in parameters() if isinstance(param, Flag)]
    fixed = {about.parameter for about in settings().values() if about.fixed} | {"host", "port"}
    lines = []
    for heading in Heading:
        lines += [f"### {heading.value}", "", "| flag | default | what it sets |", "|---|---|---|"]
        lines += [_row(flag, flag.name in fixed) for flag in flags if flag.heading is heading]
        lines.append("")
    return "\n".join(lines)


def replaced(page: str) -> str:
    """Return a page with new tables between its marks."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{tables()}{END}{after}"


def _row(flag: Flag, is_fixed: bool) -> str:
    ctx = click.Context(click.Command("serve"))
    written, _ = flag.get_help_record(ctx) or ("", "")
    what, _, said = (flag.help or "").partition("  [default: ")
    default: Any = said.removesuffix("]") or flag.get_default(ctx)
    if flag.is_flag:
        default = "on" if default else "off"
    elif flag.multiple:
        default = ", ".join(default)
    shown = f"`{default}`" if default not in (None, "") else ""
    cells = (f"`{written}`{' †' if is_fixed else ''}", shown, what)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(replaced(page.read_text()))
