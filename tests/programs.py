"""Programs of the operating system that tests drive as their users do.

``make real-programs`` installs them. A test whose program is missing is skipped, and
says so; on a machine that judges changes (``CI`` is set) it fails.
"""

from __future__ import annotations

import os
import shutil

import pytest


def need(program: str, package: str = "") -> str:
    """Return the path of `program`.

    Args:
        program: its name on the PATH.
        package: the Debian package that has it, if that is called differently.
    """
    path = shutil.which(program)
    if path is not None:
        return path
    lack = (
        f"{program} is not installed: make real-programs, or apt-get install {package or program}"
    )
    if os.environ.get("CI"):
        pytest.fail(lack, pytrace=False)
    pytest.skip(lack)
