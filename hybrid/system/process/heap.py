"""The C library's heap: what a burst needs again is kept, and given back when it is over.

glibc returns freed memory to the kernel as soon as 128 KiB of it lie at the
end of the heap, and gets large blocks from the kernel one by one. A server
that reads uploads of a megabyte then has every page of them taken, cleared
and given back again: it was half of the price of such a request.
"""

from __future__ import annotations

from hybrid.system.process.libc import set_malloc_option, trim_heap

# mallopt(3). Both figures are where glibc would arrive by itself, after one block of 32 MiB.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT = 64 * 2**20  # bytes at the heap's end that are kept
_SMALL = 32 * 2**20  # bytes up to which a block comes from the heap; the most that glibc allows


def keep_freed() -> bool:
    """Keep freed memory in this process.

    Returns:
        Whether the C library can do that; others than glibc have ways of their own.
    """
    try:
        set_malloc_option(_M_MMAP_THRESHOLD, _SMALL)
        set_malloc_option(_M_TRIM_THRESHOLD, _KEPT)
    except OSError:
        return False
    return True


def give_back() -> bool:
    """Give every page of free memory back to the kernel; 5 ms for 100 MB.

    Returns:
        Whether there was something to give.
    """
    try:
        return trim_heap()
    except OSError:
        return False
