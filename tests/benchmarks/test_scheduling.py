"""The recorded table of the scheduling policies."""

from __future__ import annotations

import json

from benchmarks.scheduling import README, RESULTS, section


def test_the_readme_shows_the_table_that_was_measured() -> None:
    assert section(json.loads(RESULTS.read_text())) in README.read_text()
