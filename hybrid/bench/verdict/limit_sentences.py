"""What the limit on jobs at once in the whole cluster is worth: auto against none."""

from __future__ import annotations

from dataclasses import dataclass

from hybrid.bench.matrix.run import Results
from hybrid.bench.matrix.scenarios import METRICS, Metric
from hybrid.bench.theory.statistics import Ratio, ratio
from hybrid.bench.verdict.verdict import judge

SHOWN = ("slo_rate", "io_p95", "cpu_ms")


@dataclass(frozen=True, slots=True)
class LimitEffect:
    """One figure without the limit, over the same figure with it."""

    scenario: str
    topology: str  # the key of the limited one
    title: str
    metric: Metric
    ratio: Ratio
    chance: float  # the factor that the same topology differs from itself by (A/A)

    @property
    def verdict(self) -> str:
        """Say which is better, where the interval separates them and chance is not enough."""
        if not self.ratio.exceeds(self.chance):
            return "no difference"
        more = self.ratio.estimate > 1.0
        return "no limit is better" if more == self.metric.higher_is_better else "the limit pays"

    def __str__(self) -> str:
        known = self.ratio.pairs > 1
        spread = f" [{self.ratio.low:.2f} … {self.ratio.high:.2f}]" if known else ""
        return f"{self.metric.title} × {self.ratio.estimate:.2f}{spread} ({self.verdict})"


def limit_sentences(results: Results) -> list[str]:
    """Return a sentence per row and topology that was measured with and without a limit."""
    said: dict[str, list[str]] = {}
    for effect in limit_effects(results):
        said.setdefault(f"{effect.scenario}, {effect.title}", []).append(str(effect))
    return [
        f"{what}, without a limit instead of one job per CPU: {', '.join(effects)}."
        for what, effects in said.items()
    ]


def limit_effects(results: Results) -> list[LimitEffect]:
    """Return every comparison that the results allow, over the blocks that both have."""
    profile = results.profile
    found = []
    for scenario in profile.limit_rows:
        for free in profile.unlimited:
            limited = next((t for t in profile.topologies if t.key == free.limited_key), None)
            for name in SHOWN if limited else ():
                pair = _pairs(results, scenario, free.key, free.limited_key, name)
                if pair:
                    effect = ratio([a for a, _ in pair], [b for _, b in pair])
                    key, title = free.limited_key, limited.title if limited else ""
                    chance = judge(results, scenario, name).chance
                    found.append(LimitEffect(scenario, key, title, METRICS[name], effect, chance))
    return found


def _pairs(
    results: Results, scenario: str, first: str, second: str, metric: str
) -> list[tuple[float, float]]:
    values = {
        (cell.topology, cell.block): cell.values[metric]
        for cell in results.cells
        if cell.scenario == scenario and metric in cell.values and not cell.problems
    }
    blocks = sorted({block for _, block in values})
    both = ((values.get((first, block)), values.get((second, block))) for block in blocks)
    return [(a, b) for a, b in both if a and b]
