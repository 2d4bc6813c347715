"""Results as JSON files: a line per cell, so that a difference between two files can be read."""

from __future__ import annotations

import json
from pathlib import Path

from hybrid.bench.matrix import Results


def save(results: Results, path: Path) -> None:
    """Write `results`; a file that is there is replaced in one step."""
    whole = results.to_dict()
    cells = whole.pop("cells")
    head = json.dumps(whole, indent=1, allow_nan=False).removesuffix("\n}")
    lines = ",\n  ".join(json.dumps(cell, allow_nan=False) for cell in cells)
    replace_text(path, f'{head},\n "cells": [\n  {lines}\n ]\n}}\n')


def replace_text(path: Path, content: str) -> None:
    """Write a file in one step: whoever reads it sees the old or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text(content)
    draft.replace(path)


def load(path: Path) -> Results:
    """Read what `save` wrote.

    Raises:
        ValueError: it is not such a file.
    """
    try:
        return Results.from_dict(json.loads(path.read_text()))
    except (KeyError, TypeError, ValueError) as ex:
        raise ValueError(f"{path} holds no results of the matrix: {ex!r}") from ex


def default_path(results: Results, folder: Path) -> Path:
    """Return a name that says what, when and of which commit."""
    stamp = results.machine["when"].replace(":", "").replace("-", "")
    commit = results.machine["commit"] or "wheel"
    return folder / f"matrix-{results.profile.name}-{stamp}-{commit}.json"
