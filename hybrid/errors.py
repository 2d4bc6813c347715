"""Every error hybrid raises, in one screen.

    HybridError
    ├── ConfigError            the operator asked for something impossible
    │   └── AppLoadError       ... the application cannot be imported
    ├── IllegalTransition      a bug in hybrid: an event arrived in a wrong state
    ├── LinkError              a frame between our own processes is unusable
    │   └── FrameTooLarge      ... refused at the sender, nothing was sent
    ├── HookFailed             a hook of the application raised or took too long
    ├── MailError              a message to another process got no answer, because ...
    │   ├── MailboxFull        ... its receiver is too slow; nothing was sent
    │   ├── NoSuchWorker       ... there is no ready worker
    │   ├── NoReply            ... time is over
    │   ├── RequestFailed      ... its handler raised, or there is none
    │   └── NotInCluster       ... this process is not a worker
    ├── StateError             shared state has not done what was asked, because ...
    │   ├── StateUnavailable   ... its store cannot be reached (HTTP 503 + Retry-After)
    │   ├── StateUnsupported   ... this kind of store cannot do it; raised when the state is made
    │   ├── ValueTooLarge      ... the value or message is too large for this store
    │   ├── NotACounter        ... the value is not a number, or would become too large
    │   ├── SessionConflict    ... another request has changed the session (HTTP 409)
    │   ├── LockBusy           ... another task holds the lock
    │   └── LockLost           ... the lock could not be renewed in time
    ├── RateLimited            this key has asked too often (HTTP 429 + Retry-After)
    └── JobError               this job has no result, because ...
        ├── JobRefused         ... it was declared or called in a way no lane can run
        ├── QueueFull          ... the pool refused it at once (HTTP 503 + Retry-After)
        │   └── DeadlineTooShort ... because too many jobs are before it
        ├── JobTimeout         ... its deadline passed (HTTP 504)
        ├── JobCancelled       ... its client went away, or its submitter cancelled it
        ├── PoolBroken         ... its pool process died under it (HTTP 500)
        │   └── JobOutOfMemory ... because the job asked for too much memory (HTTP 507)
        ├── ResultNotPicklable ... what it returned or raised cannot cross a process
        └── PoolClosed         ... the pool is closed (HTTP 503)

An exception raised *by the job's own code* is re-raised unchanged, with the
remote traceback as its ``__cause__``: the caller's bug must not look like ours.
"""

from __future__ import annotations


class HybridError(Exception):
    """Base class, so that ``except HybridError`` means "anything of ours"."""


class ConfigError(HybridError):
    """The operator asked for something impossible; exit code 1 or 2."""


class AppLoadError(ConfigError):
    """The application cannot be imported, or cannot be served; exit code 4."""


class IllegalTransition(HybridError):
    """An event arrived in a state that has no entry for it: a bug in hybrid."""


class LinkError(HybridError):
    """A frame on a link between hybrid's own processes is unusable."""


class FrameTooLarge(LinkError):
    """The frame is over the link's limit; it was refused and nothing was sent."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"frame of {size} bytes is over the limit of {limit} bytes")
        self.size, self.limit = size, limit


class HookFailed(HybridError):
    """A hook that the application registered raised or took too long."""


class MailError(HybridError):
    """A message to another process was not delivered, or not answered."""


class MailboxFull(MailError):
    """The receiver is not reading and its outbox is full; the message was not sent."""

    def __init__(self, slots: list[int], waiting: int) -> None:
        reader = f"worker {', '.join(map(str, slots))}" if slots else "the primary"
        super().__init__(f"{waiting} bytes already wait for {reader} to read; send less, or later")
        self.slots, self.waiting = slots, waiting


class NoSuchWorker(MailError):
    """There is no ready worker of that slot (or no leader at this moment)."""

    def __init__(self, to: str) -> None:
        super().__init__(f"there is no ready worker {to}")
        self.to = to


class NoReply(MailError):
    """The time for a reply is over. The message may have arrived."""

    def __init__(self, to: int | str, timeout: float) -> None:
        super().__init__(f"no reply from {to!r} within {timeout:g} s")
        self.to, self.timeout = to, timeout


class RequestFailed(MailError):
    """There will be no reply: the handler raised, or there is none. The text is the other's."""


class NotInCluster(MailError):
    """This process is not a worker of a cluster."""


class StateError(HybridError):
    """Shared state has not done what was asked."""


class StateUnavailable(StateError):
    """The store is away, too slow, or refuses. The call has happened once or not at all.

    `retry_after` is in seconds: when the store is asked again.
    """

    def __init__(self, store: str, reason: str, retry_after: float) -> None:
        super().__init__(f"shared state at {store} is not available: {reason}")
        self.store, self.reason, self.retry_after = store, reason, retry_after


class StateUnsupported(StateError):
    """This kind of store cannot do what the application wants of it."""


class ValueTooLarge(StateError):
    """The value, or message, is over the limit of this store; nothing was sent."""

    def __init__(self, size: int, limit: int, store: str) -> None:
        super().__init__(f"{size} bytes are over the limit of {store}, {limit} bytes")
        self.size, self.limit = size, limit


class NotACounter(StateError):
    """The value is not a whole number, or would leave 64 bits; it is unchanged."""


class SessionConflict(StateError):
    """Another request of the same session has changed it meanwhile; nothing was written."""


class LockBusy(StateError):
    """Another task holds the lock, and the time to wait is over."""


class LockLost(StateError):
    """The lock could not be renewed before it expired; another task may hold it now."""


class RateLimited(HybridError):
    """This key has asked too often. `retry_after` is in seconds."""

    def __init__(self, key: str, retry_after: float) -> None:
        super().__init__(f"too many requests; the next one is possible in {retry_after:.1f} s")
        self.key, self.retry_after = key, retry_after


class JobError(HybridError):
    """The job has no result, and the reason is not its own code."""


class JobRefused(JobError):
    """The job cannot run on the lane it asks for: the message names the remedy."""


class QueueFull(JobError):
    """The pool refused the job: no place in its queue is free. Nothing has run.

    Attributes:
        depth: jobs that wait for a slot.
        limit: places in the queue; 0: no limit.
        retry_after: seconds until it makes sense to try again, from the measured service rate.
    """

    def __init__(self, depth: int, limit: int, retry_after: float) -> None:
        why, remedy = self._explain(depth, limit)
        super().__init__(f"{why}; retry in {retry_after:.1f} s, or raise {remedy}")
        self.depth, self.limit, self.retry_after = depth, limit, retry_after

    def _explain(self, depth: int, limit: int) -> tuple[str, str]:
        return f"job queue is full ({depth} of {limit} places taken)", "--cpu-queue"


class DeadlineTooShort(QueueFull):
    """The pool refused the job: the jobs before it take longer than its deadline allows."""

    def _explain(self, depth: int, limit: int) -> tuple[str, str]:
        return f"the deadline cannot be met: {depth} jobs wait", "the deadline"


class JobTimeout(JobError):
    """The deadline, which covers waiting and running, passed before the result."""

    def __init__(self, name: str, deadline: float, where: str) -> None:
        super().__init__(f"job {name} did not finish within {deadline:g} s (it was {where})")
        self.name, self.deadline, self.where = name, deadline, where


class JobCancelled(JobError):
    """The job was withdrawn: its client is gone, or its submitter cancelled it."""


class PoolBroken(JobError):
    """The pool process died under the job. The pool replaces it."""


class JobOutOfMemory(PoolBroken):
    """The job asked for more memory than a pool process may have."""


class ResultNotPicklable(JobError):
    """The result or exception cannot cross the process boundary; names the type."""


class PoolClosed(JobError):
    """The pool no longer takes jobs: its worker is leaving."""
