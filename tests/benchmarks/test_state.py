"""The costs of shared state: what is shown is what is recorded."""

from __future__ import annotations

import json

from benchmarks.state import PAGE, RESULTS, compare, on_loop, table


def test_the_page_shows_what_is_recorded() -> None:
    assert table(json.loads(RESULTS.read_text())) in PAGE.read_text()


def test_one_store_is_measured_beside_its_driver(tmp_path: object) -> None:
    found = on_loop(compare("sqlite", f"sqlite:{tmp_path}/state.db", blocks=1, calls=32))
    assert set(found) == {"hybrid.state", "aiosqlite", "diskcache"}
    assert set(found["hybrid.state"]) == {"get", "set", "incr", "incr, 32 at once"}
    assert all(each > 0 for verbs in found.values() for each in verbs.values())
