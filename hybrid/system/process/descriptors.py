"""How many descriptors a process may have: RLIMIT_NOFILE, ``ulimit -n``.

The soft limit is 1024 on most systems, for the sake of programs that use
select(2), and what a server may have by the hard one is a thousand times that.
https://0pointer.net/blog/file-descriptor-limits.html
"""

from __future__ import annotations

import contextlib
import resource

_ENOUGH = 1 << 20  # what Linux allows by default (fs.nr_open)


def descriptor_limit() -> int:
    """Return how many descriptors this process and its children may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _ENOUGH if soft == resource.RLIM_INFINITY else soft


def raise_descriptor_limit() -> int:
    """Raise the soft limit to the hard one, or to a million; return what it was."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return soft


def set_descriptor_limit(soft: int) -> None:
    """Set the soft limit; what is open beyond it stays open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
