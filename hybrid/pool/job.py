"""What a user declares: a function, and how it may be run.

A job travels to a pool process as ``module:qualname``; the process imports the
module under its real name and finds the function there. So what cannot be
found by that name (a lambda, a closure, anything of ``__main__``) is refused
where it is declared, not at the first request.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, overload

from hybrid.errors import JobRefused

LaneName = Literal["inline", "thread", "process"]
LANES: tuple[LaneName, ...] = ("inline", "thread", "process")

_declared: dict[str, Job] = {}  # by address; process-wide, filled by imports
_initializers: dict[str, Callable[[], object]] = {}


@dataclass(frozen=True)
class Job:
    """A function that a pool can run. Calling it calls the function, here and now.

    Attributes:
        fn: the function itself.
        name: for logs, errors and Server-Timing.
        module: the module it is imported from in a pool process.
        qualname: its name in there.
        releases_gil: it spends its time where numpy has released the GIL; then
            a thread runs it in true parallel, and no array is copied.
        waits: it sleeps or does I/O; then it takes no permit.
        writable: it gets private copies of its array arguments instead of
            read-only views.
    """

    fn: Callable[..., Any]
    name: str
    module: str
    qualname: str
    releases_gil: bool = False
    waits: bool = False
    writable: bool = False
    address: str = field(init=False)  # module:qualname
    is_importable: bool = field(init=False)  # by a pool process

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", f"{self.module}:{self.qualname}")
        hidden = "<" in self.qualname or self.module == "__main__"  # <lambda>, <locals>
        object.__setattr__(self, "is_importable", not hidden)
        object.__setattr__(self, "__doc__", self.fn.__doc__)
        object.__setattr__(self, "__wrapped__", self.fn)  # for inspect.signature

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function directly: no pool, no lane."""
        return self.fn(*args, **kwargs)

    def __reduce__(self) -> tuple[Callable[[str], Job], tuple[str]]:
        return find_job, (self.address,)

    @property
    def lane(self) -> LaneName:
        """The lane it asks for."""
        return "thread" if self.releases_gil else "process"

    def refuse_unless_importable(self) -> None:
        """Raise unless a pool process can find the function by its name.

        Raises:
            JobRefused: it is a lambda, a closure, or lives in ``__main__``.
        """
        if "<lambda>" in self.qualname:
            problem, remedy = "is a lambda", "give it a name with def, in a module of its own"
        elif "<locals>" in self.qualname:
            problem = "is defined inside a function"
            remedy = "move it to the top level of a module and pass what it closes over"
        elif self.module == "__main__":
            problem = "is defined in __main__"
            remedy = "move it to a module that a pool process can import"
        else:
            return
        raise JobRefused(
            f"job {self.name} {problem}, so no pool process can import it: {remedy}, "
            f"or run it in a thread with releases_gil=True"
        )


@overload
def job(
    fn: Callable[..., Any],
    /,
    *,
    releases_gil: bool = ...,
    waits: bool = ...,
    writable: bool = ...,
    name: str | None = ...,
) -> Job: ...


@overload
def job(
    fn: None = None,
    /,
    *,
    releases_gil: bool = ...,
    waits: bool = ...,
    writable: bool = ...,
    name: str | None = ...,
) -> Callable[[Callable[..., Any]], Job]: ...


def job(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    releases_gil: bool = False,
    waits: bool = False,
    writable: bool = False,
    name: str | None = None,
) -> Job | Callable[[Callable[..., Any]], Job]:
    """Declare a function as a job; with or without arguments, as decorator or call.

    Args:
        fn: the function; may know nothing of hybrid.
        releases_gil: run it in a thread (see `Job`). Leave it out when in doubt.
        waits: it sleeps or does I/O: it takes a slot but no permit.
        writable: give it private copies of its arrays.
        name: what logs and metrics call it; default: the function's name.

    Raises:
        JobRefused: no pool process could import it, and it does not say
            ``releases_gil=True``; the message names the remedy.
    """
    if fn is None:
        return lambda function: job(
            function, releases_gil=releases_gil, waits=waits, writable=writable, name=name
        )
    if isinstance(fn, Job):
        fn = fn.fn
    declared = _describe(fn, name, releases_gil, waits, writable)
    if not releases_gil:
        declared.refuse_unless_importable()
    _declared[declared.address] = declared
    return declared


def as_job(fn: Job | Callable[..., Any]) -> Job:
    """Return `fn` as a job: itself, or a plain function on the process lane.

    Nothing is refused here: the lane that will run it is not known yet.
    """
    if isinstance(fn, Job):
        return fn
    return _describe(fn, None, releases_gil=False, waits=False, writable=False)


def _describe(
    fn: Callable[..., Any], name: str | None, releases_gil: bool, waits: bool, writable: bool
) -> Job:
    qualname = getattr(fn, "__qualname__", None)
    if not callable(fn) or qualname is None:
        raise JobRefused(
            f"{fn!r} is not a function: a job needs a name to be imported by; "
            f"wrap it in a def at the top level of a module"
        )
    return Job(fn, name or fn.__name__, fn.__module__, qualname, releases_gil, waits, writable)


def initializer(fn: Callable[[], object]) -> Callable[[], object]:
    """Declare a function that runs once in every process that runs jobs, before the first.

    In a pool process it runs before the process says READY; in a worker before the
    worker does, or before its first job where no declared job runs in the worker
    itself. If it raises, the process is not ready.

    Raises:
        JobRefused: no pool process could import it.
    """
    described = _describe(fn, None, releases_gil=False, waits=False, writable=False)
    described.refuse_unless_importable()
    _initializers[described.address] = fn
    return fn


def declared_jobs() -> tuple[Job, ...]:
    """Return every job declared in this process so far."""
    return tuple(_declared.values())


def declared_initializers() -> tuple[str, ...]:
    """Return the addresses of the declared initialisers, in order."""
    return tuple(_initializers)


def find_function(address: str) -> Callable[..., Any]:
    """Import ``module:qualname`` and return the function, unwrapped if it is a `Job`.

    Raises:
        ImportError, AttributeError: there is no such module or name in it.
    """
    module, _, qualname = address.partition(":")
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    return found.fn if isinstance(found, Job) else found


def find_job(address: str) -> Job:
    """Return the declared job of that address; what unpickling a `Job` calls."""
    function = find_function(address)
    return _declared.get(address) or as_job(function)
