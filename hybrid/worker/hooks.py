"""The application's hooks and message handlers, collected at its import.

One registry per process. The worker runs the hooks; without a worker (a test,
another server) none is ever called.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar, overload

from hybrid.errors import HookFailed

logger = logging.getLogger("hybrid.error")

Hook = Callable[..., Any]  # plain or async
F = TypeVar("F", bound=Hook)


class Moment(Enum):
    """When a hook is called, and its timeout in seconds unless it sets another."""

    START = ("start", 30.0)  # the application is started; not accepting yet
    DRAIN = ("drain", 5.0)  # no new connections from now on
    DRAINED = ("drained", 5.0)  # every request is answered, the pool is closed
    EXIT = ("exit", 5.0)  # the last one; called with the reason
    LEADERSHIP = ("leadership", 5.0)  # called with True when it begins, False before it ends
    EVENT = ("event", 5.0)  # in the leader: something happened to a worker
    MESSAGE = ("message", 60.0)  # a message arrived

    def __init__(self, label: str, timeout: float) -> None:
        self.label = label
        self.timeout = timeout


@dataclass(frozen=True, slots=True)
class Registered:
    """One hook."""

    call: Hook
    timeout: float  # s

    async def run(self, *args: Any) -> None:
        """Call it. A plain function cannot be interrupted, and blocks the loop.

        Raises:
            TimeoutError: it is async and did not end in time; it was cancelled.
        """
        result = self.call(*args)
        if inspect.isawaitable(result):
            await asyncio.wait_for(result, self.timeout)


def is_cancelled() -> bool:
    """Return whether the current task was cancelled: a CancelledError may be a hook's own."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Registry:
    """The hooks of this process, by moment, in order of registration."""

    def __init__(self) -> None:
        self._hooks: dict[Moment, list[Registered]] = {moment: [] for moment in Moment}

    def at(self, moment: Moment) -> tuple[Registered, ...]:
        """Return the hooks of a moment."""
        return tuple(self._hooks[moment])

    def add(self, moment: Moment, call: Hook, timeout: float | None) -> None:
        """Register one more."""
        seconds = moment.timeout if timeout is None else timeout
        self._hooks[moment].append(Registered(call, seconds))

    def clear(self) -> None:
        """Remove every hook; for tests."""
        for hooks in self._hooks.values():
            hooks.clear()

    async def run(self, moment: Moment, *args: Any, strict: bool = False) -> None:
        """Call every hook of a moment, one after the other.

        Raises:
            HookFailed: `strict`, and a hook raised or took too long; the rest are not
                called. Without `strict` that is logged and the next one is called.
        """
        for hook in self.at(moment):
            try:
                await hook.run(*args)
            except (Exception, asyncio.CancelledError) as ex:
                if is_cancelled():
                    raise  # the worker's own cancellation, not a fault of the hook
                why = f"took over {hook.timeout:g} s" if isinstance(ex, TimeoutError) else repr(ex)
                name = getattr(hook.call, "__qualname__", repr(hook.call))
                text = f"on_{moment.label} hook {name}: {why}"
                if strict:
                    raise HookFailed(text) from ex
                logger.error("%s", text, exc_info=not isinstance(ex, TimeoutError))


registry = Registry()


class Decorator:
    """``@on_start`` or ``@on_start(timeout=…)``."""

    def __init__(self, moment: Moment) -> None:
        self._moment = moment
        self.__doc__ = f"Register a function for the moment {moment.label!r}."

    @overload
    def __call__(self, function: F, /) -> F: ...
    @overload
    def __call__(self, /, *, timeout: float) -> Callable[[F], F]: ...
    def __call__(self, function: Hook | None = None, /, *, timeout: float | None = None) -> Any:
        """Register `function` with a timeout in seconds; return it unchanged."""
        if function is not None:
            registry.add(self._moment, function, timeout)
            return function

        def register(later: F) -> F:
            registry.add(self._moment, later, timeout)
            return later

        return register
