"""A rolling reload, from the request to its outcome.

A reload is a new generation number. Every worker of an older generation is
replaced; the new worker is ready before its predecessor stops accepting. A
reload ends in one of two ways: every slot has a ready worker of the new
generation, or a worker of the new generation dies before it is ready; then
the workers that still serve keep serving, and the old settings are in force.

A generation number is never used twice: after an aborted reload to 2, dead
workers are replaced with generation 1, and the next reload is to 3.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReloadOutcome:
    """How the last reload ended. A later request includes an earlier one."""

    generation: int
    done: bool
    text: str  # why not; with the traceback of the new generation, where there is one


@dataclass(slots=True)
class Generations:
    """The generation that new workers belong to, and the one to return to."""

    wanted: int = 1  # of every worker that is forked now
    latest: int = 1  # the highest number ever used
    outcome: ReloadOutcome | None = None
    _settled: int = 1  # the last one that no reload replaces; an abort returns to it

    @property
    def reloading(self) -> bool:
        """Whether a reload is in progress."""
        return self.wanted != self._settled

    def begin(self) -> int:
        """Start a reload, or start it over; return its generation."""
        self.latest += 1
        self.wanted = self.latest
        return self.wanted

    def finish(self) -> None:
        """Note that every slot has a ready worker of the wanted generation."""
        if self.reloading:
            self._settled = self.wanted
            self.outcome = ReloadOutcome(self.wanted, True, f"generation {self.wanted} is ready")

    def abort(self, why: str) -> int:
        """Return to the generation before the reload; return the number that failed."""
        failed = self.wanted
        self.wanted = self._settled
        self.outcome = ReloadOutcome(failed, False, why)
        return failed
