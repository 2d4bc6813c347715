from __future__ import annotations

from collections.abc import Iterator

import pytest

from hybrid.bench.load.generator import LoadGenerator
from hybrid.bench.server.served import NULL_SERVER, Server


@pytest.fixture(scope="package")
def null_server() -> Iterator[Server]:
    with Server(NULL_SERVER) as server:
        yield server


@pytest.fixture(scope="package")
def generator() -> Iterator[LoadGenerator]:
    with LoadGenerator() as generator:
        yield generator
