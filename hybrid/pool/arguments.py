"""The one rule about arrays, the same on every lane.

A job sees its array arguments as read-only views; ``writable=True`` gives it
private copies. Views cost nothing and cannot corrupt what the caller, or the
next job, still uses. Lists, tuples and dicts are followed; an array inside any
other object is followed on the process lane only, where all of them are views.

Cost: O(items of the containers); runs where the job runs, never on the loop.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

_PLAIN = frozenset((int, float, complex, bool, str, bytes, type(None)))  # nothing inside

_NUMBERS = "biufc"  # kinds of dtype that have a buffer


def guarded(
    args: tuple[Any, ...], kwargs: dict[str, Any], writable: bool, private: bool
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments with every array replaced as the module says.

    Args:
        args: positional arguments.
        kwargs: keyword arguments.
        writable: as declared by the job.
        private: the arrays are nobody else's already (they came out of a frame);
            then only those that were read-only at the caller need a copy.
    """
    numpy = sys.modules.get("numpy")
    if numpy is None or (not kwargs and _PLAIN.issuperset(map(type, args))):  # no array in there
        return args, kwargs
    array: type = numpy.ndarray
    treat: Callable[[Any], Any] = _view
    if writable:
        treat = _thawed if private else _copy
    guarded_args = tuple(_walk(item, array, treat) for item in args)
    return guarded_args, {name: _walk(item, array, treat) for name, item in kwargs.items()}


def _walk(value: Any, array: type, treat: Callable[[Any], Any]) -> Any:
    if isinstance(value, array):
        return treat(value)
    kind = type(value)
    if kind is list or kind is tuple:
        walked = [_walk(item, array, treat) for item in value]
        return walked if kind is list else tuple(walked)
    if kind is dict:
        return {key: _walk(item, array, treat) for key, item in value.items()}
    return value


def _view(array: Any) -> Any:
    numpy = sys.modules["numpy"]
    if type(array) is numpy.ndarray and array.flags.c_contiguous and array.dtype.kind in _NUMBERS:
        # A view of writable memory can be made writable again; one of a read-only buffer cannot.
        return numpy.asarray(memoryview(array).toreadonly())
    view = array.view()
    view.flags.writeable = False
    return view


def _copy(array: Any) -> Any:
    return array.copy()


def _thawed(array: Any) -> Any:
    return array if array.flags.writeable else array.copy()
