from __future__ import annotations

import json
from dataclasses import replace

import pytest

from hybrid.bench.matrix.run import Results, profile
from hybrid.bench.matrix.scenarios import BY_KEY, METRICS
from hybrid.bench.server.topology import NO_LIMIT
from hybrid.bench.verdict.sentences import headline, sentence
from hybrid.bench.verdict.verdict import _best, judge, titles
from tests.bench.made_up import results

ALIKE = {"1x0": 100.0, "1xT": 100.0, "1xP": 100.0, "Nx0": 100.0, "NxT": 100.0, "NxP": 100.0}


def test_a_separated_best_wins_and_the_article_is_checked_against_it() -> None:
    row = judge(results({**ALIKE, "Nx0": 200.0}), "io")

    assert row.winner == "Nx0"
    assert row.agreement == "agrees"


def test_what_the_interval_does_not_separate_is_a_tie() -> None:
    row = judge(results({**ALIKE, "Nx0": 200.0, "1xP": 201.0}), "io")

    assert set(row.best) == {"Nx0", "1xP"}
    assert row.winner is None
    assert row.agreement == "not contradicted"


def test_a_winner_that_the_article_does_not_name_disagrees() -> None:
    row = judge(results({**ALIKE, "1xP": 300.0}, scenario="cpu-gil"), "cpu-gil")

    assert row.agreement == "disagrees"


def test_a_difference_within_the_aa_row_is_a_tie() -> None:
    # The same topology twice differs by half: a winner by a third means nothing.
    row = judge(results({**ALIKE, "Nx0": 133.0}, again=1.5), "io")

    assert row.chance > 1.33
    assert row.winner is None


def test_one_block_decides_nothing() -> None:
    row = judge(results({**ALIKE, "Nx0": 900.0}, blocks=1), "io")

    assert len(row.best) == 6
    assert row.agreement == "undecided"


def test_the_kill_that_fewest_notice_wins_a_restart() -> None:
    row = judge(results({**ALIKE, "NxT": 3.0}, scenario="restart"), "restart")

    assert row.winner == "NxT"
    assert row.figures["NxT"].value == pytest.approx(3.0, rel=0.02)


def test_a_cell_that_failed_a_gate_takes_no_part_and_is_told() -> None:
    found = results({**ALIKE, "Nx0": 900.0})
    found.cells = [
        replace(c, problems=["generator used 99% of its core"])
        if c.topology == "Nx0" and c.block == 0
        else c
        for c in found.cells
    ]

    figure = judge(found, "io").figures["Nx0"]

    assert figure.blocks == 2
    assert figure.problems == ("generator used 99% of its core",)


def test_the_verdict_is_a_sentence() -> None:
    found = results({**ALIKE, "Nx0": 200.0})

    said = sentence(judge(found, "io"), titles(found))
    assert said == (
        "For high I/O throughput, cluster only wins (highest rate within the objective 200 /s), "
        "2 × the rest; the article says clustering: agrees."
    )
    assert headline(found).endswith(
        "high I/O throughput: cluster only (2 × the rest) — "
        "the article's advice holds in 1 of 1 rows."
    )


def test_those_that_belong_together_have_one_name() -> None:
    found = results({**ALIKE, "1xP": 300.0, "NxP": 300.0}, scenario="cpu-gil")

    said = headline(found)
    assert "CPU work in pure Python: pool processes (3 × the rest)" in said
    assert "not for CPU work in pure Python (it says: worker threads, per process)" in said


def test_where_less_is_better_the_rest_has_more() -> None:
    rates = {**dict.fromkeys(ALIKE, 39.5), "Nx0": 7.5, "NxT": 7.5, "NxP": 7.5}

    said = headline(results(rates, scenario="restart"))

    assert "a worker killed under load: a cluster (5 × fewer than the rest)" in said


def test_rows_that_separate_nothing_are_not_counted_for_the_article() -> None:
    said = headline(results(ALIKE))

    assert "high I/O throughput: no difference" in said
    assert said.endswith("no row separates what the article recommends from the rest.")


def test_results_survive_their_file() -> None:
    found = results(ALIKE)

    stored = json.loads(json.dumps(found.to_dict(), allow_nan=False))

    again = Results.from_dict(stored)
    assert again.profile == found.profile
    assert again.cells == found.cells


@pytest.mark.parametrize("name", ["full", "quick", "ci", "notebook-ci"])
def test_every_profile_counts_its_cells(name: str) -> None:
    found = profile(name, workers=2, slots=2)

    each = {(t.key, row) for t in found.columns() for row in found.rows_of(t)}
    assert found.cells == found.blocks * len(each)
    # Without a limit only what has jobs is worth measuring.
    assert all(BY_KEY[row].job for key, row in each if key.endswith(NO_LIMIT))


def test_a_row_without_a_believable_cell_says_why() -> None:
    found = results(ALIKE)
    found.cells = [replace(c, problems=["other programs kept 0.90 CPUs busy"]) for c in found.cells]

    row = judge(found, "io")

    assert row.best == ()
    assert "nothing believable" in sentence(row, titles(found))
    assert "io, Nx0: other programs kept 0.90 CPUs busy (and 2 more)" in row.excluded


def test_who_ties_from_behind_ties_with_all_that_are_before() -> None:
    """Or a group would leave out somebody better than one of its members."""
    steady = dict.fromkeys(range(5), 100.0)
    close = {block: 90.0 + block / 10 for block in range(5)}  # surely less, by little
    erratic = dict(enumerate((30.0, 120.0, 25.0, 110.0, 60.0)))

    best = _best({"a": steady, "b": close, "c": erratic}, METRICS["slo_rate"], 1.0)

    assert best == ("a", "b", "c")
