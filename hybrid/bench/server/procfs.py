"""What a tree of processes costs, read from /proc.

A server under test is started in a session of its own, so its processes are
found by session: that also catches those whose parent is already dead.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")  # clock ticks/s of utime and stime


@dataclass(frozen=True, slots=True)
class Usage:
    """One sample of a server's process tree."""

    cpu: float  # CPU s of live processes, and of dead ones that their parents have waited for
    pss: int  # bytes; shared pages divided by their sharers, so the sum is honest
    processes: int


def session_members(session: int) -> list[int]:
    """Return the pids of the live (not zombie) processes of a session."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = _stat(int(entry))
            if fields and int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry))
    return sorted(found)


def usage(session: int, *, memory: bool = False) -> Usage:
    """Return what the session has used so far.

    Args:
        session: the session id, which is the pid of its first process.
        memory: also add up PSS. It walks page tables (milliseconds per process
            with much memory), so never while latency is being measured.
    """
    members = session_members(session)
    cpu = sum(_cpu(pid) for pid in members)
    return Usage(cpu, sum(_pss(pid) for pid in members) if memory else 0, len(members))


def busy_seconds() -> float:
    """Return CPU seconds that all programs have used on the CPUs of this process.

    Steal counts as used: a neighbour on the host is a neighbour.
    """
    mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    ticks = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name in mine:
            user, nice, system, _idle, _iowait, *rest = map(int, fields[:8])
            ticks += user + nice + system + sum(rest)
    return ticks / _TICK


def _stat(pid: int) -> list[str] | None:
    """Return /proc/pid/stat from the state field on; the name before it may hold anything."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # it ended between the listing and the read
        return None
    return text[text.rindex(")") + 2 :].split()


def _cpu(pid: int) -> float:
    """Return CPU seconds of a process and of the children it has waited for.

    `stat` counts in ticks of 10 ms but keeps the time of ended threads;
    `schedstat` counts in ns but knows living threads only. Each is a lower
    bound, so the larger one is the better.
    """
    fields = _stat(pid)
    if fields is None:
        return 0.0
    ticks = (int(fields[11]) + int(fields[12])) / _TICK
    reaped = (int(fields[13]) + int(fields[14])) / _TICK
    return max(ticks, _schedstat(pid)) + reaped


def _schedstat(pid: int) -> float:
    total = 0
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            total += int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0])
    except (OSError, IndexError):  # not compiled in, or the process has ended
        return 0.0
    return total / 1e9


def memory(pid: int) -> dict[str, int]:
    """Return Rss, Pss, Private_Clean and so on of a process, in bytes; empty when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines)
    return {name: 1024 * int(rest.split()[0]) for name, rest in pairs}


def private_bytes(pid: int) -> int:
    """Return the bytes that a process shares with no other."""
    found = memory(pid)
    return found.get("Private_Clean", 0) + found.get("Private_Dirty", 0)


def _pss(pid: int) -> int:
    return memory(pid).get("Pss", 0)
