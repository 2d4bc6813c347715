"""Why a worker leaves: one list, for the supervisor, the links and the counters.

Code compares the members of `Leaving`. The text beside one is for readers: a
log line, `hybrid status`, the hooks of an application.
"""

from __future__ import annotations

from enum import Enum


class Leaving(Enum):
    """Why a worker was asked to leave, or asks to. The value is its text when there is no other."""

    RELOAD = "reload"  # a new generation takes its place
    SCALE = "scale"  # fewer workers are wanted
    STOP = "stop"  # the cluster ends
    DRAIN = "drain"  # an operator wants it replaced
    DISCONNECT = "disconnect"  # the script that forked it wants it to leave
    TERM = "SIGTERM"  # it was sent one
    RECYCLE = "recycle"  # it has reached a limit, or lost a slot of its pool for ever
