"""When a row may not be believed: the generator, not the server, was the limit.

A row that fails a gate is printed with its reason and takes no part in a verdict.
"""

from __future__ import annotations

from typing import Any

SEND_LAG = 1.0  # ms at p99; or a tenth of the median latency where that is more
GENERATOR_CPU = 0.8  # share of its core
SENT_IN_TIME = 0.99
NEIGHBOURS = 0.25  # CPUs used by programs that are not part of the measurement


def problems(summary: dict[str, Any], *, failures_allowed: bool = False) -> list[str]:
    """Return why the run is not to be believed; empty: it is.

    Args:
        summary: of the load generator.
        failures_allowed: a restart is measured *by* its failures.
    """
    generator, everything = summary["generator"], summary["all"]
    found = []
    if summary["mode"] == "open":
        found += _open_loop(generator, everything)
    if generator["cpu_share"] > GENERATOR_CPU:
        found.append(f"generator used {generator['cpu_share']:.0%} of its core")
    if everything["failed"] and not failures_allowed:
        found.append(f"{everything['failed']} of {everything['count']} requests failed")
    return found


def fell_behind(generator: dict[str, Any], slack: float) -> list[str]:
    """Return why a missed objective may be the generator's fault; empty: the server's.

    Args:
        generator: its part of the summary.
        slack: ms that a request may be delayed before it misses.
    """
    found = []
    lag = generator["send_lag_p99_ms"]
    if lag is not None and lag > 0.25 * slack:
        found.append(f"requests left {lag:.1f} ms late (p99; {slack:g} decide)")
    if generator["cpu_share"] > GENERATOR_CPU:
        found.append(f"generator used {generator['cpu_share']:.0%} of its core")
    return found


def _open_loop(generator: dict[str, Any], everything: dict[str, Any]) -> list[str]:
    found = []
    lag, median = generator["send_lag_p99_ms"], everything["latency_ms"]["p50"]
    limit = max(SEND_LAG, 0.1 * (median or 0.0))
    if lag is not None and lag > limit:
        found.append(f"requests left {lag:.1f} ms late (p99; limit {limit:.1f})")
    # With requests held for a connection the *server* was behind, which is a result.
    if generator["sent_in_time"] < SENT_IN_TIME and not generator["held"]:
        found.append(f"only {generator['sent_in_time']:.1%} of the offered requests were sent")
    return found


def neighbours(busy: float, server: float, summary: dict[str, Any]) -> float:
    """Return how many CPUs were kept busy by programs that are not part of the measurement.

    Args:
        busy: CPU seconds of the whole machine during the run.
        server: of the server's process tree.
        summary: of the load generator.
    """
    return (busy - server) / float(summary["seconds"]) - float(summary["generator"]["cpu_share"])


def crowded(others: float) -> list[str]:
    """Return the complaint about other programs on the machine, if there is one.

    Args:
        others: CPUs they kept busy during the run.
    """
    if others <= NEIGHBOURS:
        return []
    return [f"other programs kept {others:.2f} CPUs busy"]
