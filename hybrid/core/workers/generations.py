"""A rolling reload, from the wish to its outcome.

A reload is a new generation number. Every worker of an older generation is
replaced, the new one ready before its elder leaves the distribution. It ends
in one of two ways: every slot has a ready worker of the new generation, or a
worker of the new generation dies before it is ready; then whatever still
serves keeps serving, and the old settings are in force again.

A generation number is never used twice: after an aborted reload to 2, worker
deaths are made good by generation 1, and the next reload is to 3.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReloadOutcome:
    """How the last reload ended. A later wish includes an earlier one."""

    generation: int
    done: bool
    text: str  # why not; with the traceback of the new generation, where there is one


@dataclass(slots=True)
class Generations:
    """The generation that new workers belong to, and the reload in progress."""

    wanted: int = 1  # of every worker that is forked now
    reloading: bool = False
    outcome: ReloadOutcome | None = None
    _before: int = 1  # to return to when the reload is aborted
    latest: int = 1  # the highest number ever used

    def begin(self) -> int:
        """Start a reload, or start it over; return its generation."""
        if not self.reloading:
            self._before = self.wanted
        self.latest += 1
        self.wanted, self.reloading = self.latest, True
        return self.wanted

    def finish(self) -> None:
        """Note that every slot has a ready worker of the new generation."""
        if self.reloading:
            self.reloading = False
            self.outcome = ReloadOutcome(self.wanted, True, f"generation {self.wanted} is ready")

    def abort(self, why: str) -> int:
        """Return to the generation before; return the number that failed."""
        failed = self.wanted
        self.reloading = False
        self.wanted = self._before
        self.outcome = ReloadOutcome(failed, False, why)
        return failed
