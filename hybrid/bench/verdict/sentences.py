"""The verdicts in words: short names for the topologies that belong together."""

from __future__ import annotations

from hybrid.bench.matrix.run import Results
from hybrid.bench.verdict.verdict import MatrixRow, number, rows, titles

# What the members of a tie have in common, where that says it better than a list.
_AGREEMENT = {
    "agrees": "yes",
    "not contradicted": "not contradicted",
    "disagrees": "no, it says",
    "undecided": "undecided",
}
GROUPS = {
    frozenset({"1xT", "1xP", "NxT", "NxP"}): "a pool, of threads or processes",
    frozenset({"1xP", "NxP"}): "pool processes",
    frozenset({"1xT", "NxT"}): "pool threads",
    frozenset({"NxT", "NxP"}): "a cluster with a pool",
    frozenset({"Nx0", "NxT", "NxP"}): "a cluster",
    frozenset({"1xT", "1xP"}): "one process with a pool",
    frozenset({"1x0", "1xT", "1xP"}): "one process",
    frozenset({"1x0", "Nx0"}): "jobs inline",
    frozenset({"1xT", "1xP", "Nx0", "NxT", "NxP"}): "all but one process alone",
}


def headline(results: Results) -> str:
    """Return the whole matrix in one sentence."""
    found = [row for row in rows(results) if row.best]
    if not found:
        return "Nothing believable was measured."
    named = titles(results)
    clauses = "; ".join(f"{row.scenario.title}: {_clause(row, named)}" for row in found)
    cpus = len(results.machine["cpus"] or ()) or results.machine["host_cpus"]
    return f"On {cpus} CPUs — {clauses} — {_article(found)}."


def verdict_table(results: Results) -> str:
    """Return the matrix as a Markdown table: a row a scenario, best first."""
    named = titles(results)
    lines = ["| scenario | best | lead | as the article says? |", "|---|---|---|---|"]
    for row in rows(results):
        if not row.best:
            cells = ["nothing believable was measured", "", ""]
        elif len(row.best) > 1 and len(row.best) == len(row.figures):
            cells = ["no difference", "", _AGREEMENT[row.agreement]]
        else:
            says = _AGREEMENT[row.agreement]
            if row.agreement == "disagrees":
                says += f": {row.scenario.article}"
            cells = [
                _names(row, named),
                _lead(row).removesuffix(" than the rest").removesuffix(" the rest"),
                says,
            ]
        lines.append(f"| {' | '.join([row.scenario.title, *cells])} |")
    return "\n".join(lines)


def sentence(row: MatrixRow, named: dict[str, str]) -> str:
    """Say the verdict on a row.

    Args:
        row: the verdict.
        named: the long name of each topology.
    """
    what = f"For {row.scenario.title}, "
    if not row.best:
        return f"{what}nothing believable was measured."
    value = row.figures[row.best[0]]
    unit = row.metric.unit and f" {row.metric.unit}"
    figure = f"({row.metric.title} {number(value.value)}{unit})"
    if max(each.blocks for each in row.figures.values()) < 2:
        first = named.get(row.best[0], row.best[0])
        return f"{what}{first} came out first {figure}, but one block decides nothing."
    if len(row.best) == len(row.figures):
        return f"{what}no topology is separated from another {figure}: take the simplest."
    verb = "wins" if row.winner else "win, not separated from each other"
    article = f"the article says {row.scenario.article}: {row.agreement}."
    return f"{what}{_names(row, named)} {verb} {figure}, {_lead(row)}; {article}"


def _clause(row: MatrixRow, named: dict[str, str]) -> str:
    """Say in a few words which topology is best in a row, and by how much."""
    if len(row.best) > 1 and len(row.best) == len(row.figures):
        return "no difference"
    lead = _lead(row)
    return f"{_names(row, named)} ({lead})" if lead else _names(row, named)


def _names(row: MatrixRow, named: dict[str, str]) -> str:
    group = GROUPS.get(frozenset(row.best))
    if group:
        return group
    return " or ".join(title for key, title in named.items() if key in row.best)


def _lead(row: MatrixRow) -> str:
    """Return how far the worst of the best is from the best of the rest."""
    inside = [row.figures[key].value for key in row.best]
    outside = [each.value for key, each in row.figures.items() if key not in row.best]
    if not outside:
        return ""
    floor = row.metric.floor
    if row.metric.higher_is_better:
        return f"{number_short(min(inside) / max(outside))} × the rest"
    return f"{number_short((min(outside) + floor) / (max(inside) + floor))} × fewer than the rest"


def number_short(value: float) -> str:
    """Return two significant digits: 1.6, 16."""
    return f"{value:.2g}" if value < 100 else f"{value:.0f}"


def _article(found: list[MatrixRow]) -> str:
    decided = [row for row in found if row.agreement != "undecided"]
    if not decided:
        return "no row separates what the article recommends from the rest"
    against = [row for row in decided if row.agreement == "disagrees"]
    held = f"the article's advice holds in {len(decided) - len(against)} of {len(decided)} rows"
    if len(decided) < len(found):
        held += " that decide anything"
    but = [f"{row.scenario.title} (it says: {row.scenario.article})" for row in against]
    return f"{held}, not for {' and '.join(but)}" if but else held
