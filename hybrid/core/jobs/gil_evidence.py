"""Does a thread job hold the interpreter lock? Concluded from late wake-ups of the loop.

While a thread job computes in numpy without the GIL, the event loop wakes up
when it asked to. A job that holds it (pure Python, or many calls on small
arrays) makes the loop wait for the lock at every wake-up: 5 ms each with one
such thread, and far more with two.

A late wake-up has three reasons: the loop's thread computed, it waited for a
CPU, or it waited for the lock. The kernel tells the first two; the rest is the
lock. Only moments when a single kind of job runs count as evidence against it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

ENOUGH = 8  # moments of evidence before a job is named
_SUSPICIOUS = 0.003  # s of unexplained lateness in one moment; the switch interval is 0.005 s
_GUILTY = 0.6  # share of suspicious moments


@dataclass(slots=True)
class _Record:
    moments: int = 0
    suspicious: int = 0
    waited: float = 0.0  # s of unexplained lateness in all


@dataclass(slots=True)
class GilEvidence:
    """Collects moments per job; names each job that holds the lock once."""

    _records: dict[str, _Record] = field(default_factory=dict)
    _named: set[str] = field(default_factory=set)

    def moment(self, jobs: set[str], late: float, computed: float, queued: float) -> str | None:
        """Take one wake-up of the loop into account.

        Args:
            jobs: addresses of the thread jobs that have run since the last one.
            late: seconds by which the loop woke up too late.
            computed: seconds of CPU the loop's thread used since the last one.
            queued: seconds the loop's thread was runnable without a CPU.

        Returns:
            The address of a job that is named now; None otherwise.
        """
        if len(jobs) != 1:
            return None
        (job,) = jobs
        if job in self._named:
            return None
        record = self._records.setdefault(job, _Record())
        unexplained = late - computed - queued
        record.moments += 1
        if unexplained >= _SUSPICIOUS:
            record.suspicious += 1
            record.waited += unexplained
        if record.moments < ENOUGH:
            return None
        if record.suspicious >= _GUILTY * record.moments:
            self._named.add(job)
            return job
        self._records[job] = _Record()  # a new start: habits differ with the arguments
        return None

    def waited(self, job: str) -> float:
        """Return the mean seconds the loop waited in the suspicious moments of `job`."""
        record = self._records.get(job, _Record())
        return record.waited / record.suspicious if record.suspicious else 0.0
