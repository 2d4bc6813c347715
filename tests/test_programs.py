"""Tests say which program they lack."""

from __future__ import annotations

import pytest

from tests.programs import need


def test_a_missing_program_skips_a_test_and_fails_it_where_changes_are_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert need("sh").endswith("/sh")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install its-package"):
        need("no-such-program", package="its-package")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install no-such-program"):
        need("no-such-program")
