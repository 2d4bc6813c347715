"""The heap keeps what bursts need again, and gives it back when they are over."""

from __future__ import annotations

import subprocess
import sys
import textwrap

from hybrid.worker.upkeep.pulse import HeapTrimmer


def in_a_process(code: str) -> list[int]:
    """Return the figures that `code` prints; the heap of the tests' own process is left alone."""
    begin = """
    import resource
    from hybrid.system.process import heap

    def faults():
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    def rss():
        return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

    def bodies(count):
        for _ in range(count):  # as an upload of 1 MB comes: pieces, and all of it
            b"".join([b"x" * 2**18 for _ in range(4)])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(begin) + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return [int(word) for word in done.stdout.split()]


def test_memory_that_is_kept_is_not_taken_anew() -> None:
    ok, anew = in_a_process(
        """
        print(int(heap.keep_freed()))
        bodies(5)
        before = faults()
        bodies(100)
        print(faults() - before)
        """
    )

    assert ok
    assert anew < 100  # page faults; 48,000 where nothing is kept


def test_what_was_kept_is_given_back() -> None:
    full, kept, given, left = in_a_process(
        """
        heap.keep_freed()
        burst = [b"x" * 2**19 for _ in range(80)]
        above = b"x" * 4096  # so that the heap does not simply end below it
        print(rss())
        del burst
        print(rss(), int(heap.give_back()), rss())
        """
    )

    assert kept > full - 2**22
    assert given
    assert left < full - 35 * 2**20


def test_memory_that_is_only_kept_does_not_end_a_worker() -> None:
    kept, used = in_a_process(
        """
        from hybrid.config import RestartConfig
        from hybrid.worker.upkeep.pulse import Recycler

        def burst():
            return [b"x" * 2**19 for _ in range(80)]

        heap.keep_freed()
        reasons = []
        recycler = Recycler(RestartConfig(worker_max_rss=rss() + 2**24), reasons.append)
        for hold in (False, True):
            blocks = burst()
            above = b"x" * 4096
            if not hold:
                del blocks
            recycler._rss_at = 0.0
            recycler.check_limits(0)
            print(len(reasons))
        """
    )

    assert kept == 0
    assert used == 1


def test_a_worker_gives_back_when_a_burst_is_over_probes_or_not() -> None:
    given: list[float] = []
    clock = [0.0]
    trimmer = HeapTrimmer(lambda: given.append(clock[0]))

    def look(requests: int, now: float) -> None:
        clock[0] = now
        trimmer.trim_if_idle(requests, now)

    for requests, now in [(0, 100.0), (5_000, 103.0), (9_000, 105.0), (19_000, 110.0)]:
        look(requests, now)
    assert given == []  # it never had anything; then it had much to do

    look(19_005, 112.0)
    look(19_005, 115.0)
    assert given == [115.0]  # five probes are no burst

    for now in (120.0, 125.0, 500.0):
        look(19_005, now)
    assert given == [115.0]  # nothing came, so there is nothing to give
