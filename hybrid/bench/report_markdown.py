"""The measured matrix for the first screen of a README, generated and never typed."""

from __future__ import annotations

from pathlib import Path

from hybrid.bench.matrix import Results
from hybrid.bench.sentences import headline

BEGIN, END = "<!-- matrix -->", "<!-- /matrix -->"


def front_page(results: Results, stored: Path, picture: Path) -> str:
    """Return verdict, picture and origin as Markdown.

    Args:
        results: what was measured.
        stored: their file, relative to the README.
        picture: the heat map's file, relative to the README.
    """
    machine = results.machine
    count = len(machine["cpus"] or ()) or machine["host_cpus"]
    return (
        f"![The decision matrix, measured]({picture})\n\n"
        f"**{headline(results)}** The article is the usual advice for Node's cluster and worker "
        "threads ([the table below](#which-approach-when)); *× the rest*: the least of those "
        "named, over the best of all others. "
        f"({count} CPUs of {machine['cpu']}, Python {machine['python']}, {results.profile.blocks} "
        f"blocks, {machine['when'][:10]}: [{stored.name}]({stored}); "
        "yours: `hybrid bench matrix --quick`.)"
    )


def between_markers(text: str, content: str) -> str:
    """Return `text` with what lies between its markers replaced by `content`.

    Raises:
        ValueError: the markers are missing.
    """
    if BEGIN not in text or END not in text:
        raise ValueError(f"no markers {BEGIN} … {END}")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{content}\n{END}{after}"
