"""What the answer of a pool process means to the submitter."""

from __future__ import annotations

import pickle
from typing import Any

from hybrid.core.jobs.ticket import Outcome
from hybrid.errors import JobError, JobOutOfMemory, JobRefused, PoolBroken, ResultNotPicklable
from hybrid.pool.call import Call
from hybrid.pool.process.pickling import PickledFrame
from hybrid.pool.process.pool_messages import Failure, Raised, Reason
from hybrid.pool.process.process_link import ProcessLink
from hybrid.pool.running import presentable


class RemoteTraceback(Exception):
    """The traceback of an exception, as the pool process saw it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n\n{self.text}"


def read_answer(
    link: ProcessLink, call: Call, answer: PickledFrame | Raised | Failure
) -> tuple[Outcome, Any]:
    """Return the outcome and the result, or what is raised at the submitter."""
    name = call.job.name
    if isinstance(answer, PickledFrame):
        try:
            return Outcome.OK, link.load(answer)
        except Exception as ex:
            said = f"the result of job {name} cannot be unpickled: {ex!r}"
            return Outcome.ERROR, ResultNotPicklable(said)
    if isinstance(answer, Raised):
        return Outcome.ERROR, _rebuild(answer, name)
    return Outcome.ERROR, _explain(answer, name)


def _rebuild(raised: Raised, name: str) -> Exception:
    """Return the job's exception with the remote traceback as its cause."""
    try:
        exception = pickle.loads(raised.pickled)  # noqa: S301 - from our own pool process
    except Exception as ex:
        said = f"job {name} raised {raised.name}, which cannot be unpickled: {ex!r}"
        exception = ResultNotPicklable(said)
    exception.__cause__ = RemoteTraceback(raised.traceback)
    return presentable(exception, name)


def _explain(failure: Failure, name: str) -> JobError:
    kinds: dict[Reason, type[JobError]] = {
        Reason.NOT_LOADABLE: JobRefused,
        Reason.NOT_PICKLABLE: ResultNotPicklable,
        Reason.OUT_OF_MEMORY: JobOutOfMemory,
        Reason.NOT_READY: PoolBroken,
    }
    words = {
        Reason.NOT_LOADABLE: "cannot be loaded in a pool process",
        Reason.NOT_PICKLABLE: "has no answer",
        Reason.OUT_OF_MEMORY: "needed more memory than a pool process may have",
        Reason.NOT_READY: "has no process",
    }
    error = kinds[failure.reason](f"job {name} {words[failure.reason]}: {failure.message}")
    if failure.traceback:
        error.__cause__ = RemoteTraceback(failure.traceback)
    return error
