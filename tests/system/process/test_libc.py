"""The C library's own reasons reach the caller."""

from __future__ import annotations

import errno

import pytest

from hybrid.system.process import libc


def test_a_refusal_carries_the_kernels_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libc, "_PR_SET_PDEATHSIG", 9999)

    with pytest.raises(OSError, match="prctl: Invalid argument") as refused:
        libc.die_with_parent()

    assert refused.value.errno == errno.EINVAL


def test_a_function_that_the_library_lacks_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libc, "_libc", None)

    for call in (libc.die_with_parent, lambda: libc.set_malloc_option(-1, 1), libc.trim_heap):
        with pytest.raises(OSError, match="the C library has no") as refused:
            call()
        assert refused.value.errno == errno.ENOSYS
