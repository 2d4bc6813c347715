"""The smallest application of each framework, as README prints it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cluster.conftest import Server

README = (Path(__file__).parents[2] / "README.md").read_text()
APPLICATIONS = dict(re.findall(r"^```python\n# (\w+_app)\.py\n(.*?)^```", README, re.DOTALL | re.M))


def test_there_is_one_for_every_framework() -> None:
    names = ["fastapi", "starlette", "litestar", "quart", "flask", "falcon_wsgi", "django"]
    assert list(APPLICATIONS) == [f"{name}_app" for name in names]
    for name, code in APPLICATIONS.items():
        lines = [line for line in code.splitlines() if line.strip()]
        assert len(lines) <= 11, name


@pytest.mark.parametrize("name", APPLICATIONS)
def test_it_computes_in_the_pool(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text(APPLICATIONS[name])
    flags = ("--io-workers", "1", "--cpu-pool", "1")
    server = Server((f"{name}:app", *flags), tmp_path).wait_ready()
    try:
        status, headers, body = server.get("/comb/5")
        assert (status, body) == (200, b"10")
        assert "run;dur=" in headers["server-timing"]
    finally:
        server.end()
