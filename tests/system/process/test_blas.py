"""BLAS threads: said before numpy is loaded, or set afterwards; the library is asked."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

CODE = """
import json, sys
from hybrid.system.process import blas
blas.limit_before_import(1)
import numpy as np
blas.set_blas_threads({threads})
np.ones((2, 2)) @ np.ones((2, 2))
searched = "threadpoolctl" in sys.modules
print(json.dumps([searched, blas.blas_threads()]))
"""


@pytest.mark.parametrize(("threads", "searches"), [(1, False), (2, True)])
def test_the_library_reports_what_was_asked_for(threads: Any, searches: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(threads=threads)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == [searches, threads]
