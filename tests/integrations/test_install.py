"""`hybrid.install` recognises what it is given, and imports nothing else."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import hybrid
from hybrid.integrations.npy_bodies import ArrayAnswer
from tests.integrations.apps import django_app, plain_app


def test_an_unknown_application_is_told_of_the_middleware() -> None:
    with pytest.raises(TypeError, match=r"app = hybrid\.Middleware\(app\)"):
        hybrid.install(plain_app.application)


@pytest.mark.parametrize("app", [django_app.app, django_app.wsgi_handler])
def test_django_is_told_of_its_settings(app: Any) -> None:
    with pytest.raises(TypeError, match=r'MIDDLEWARE = \["hybrid\.integrations\.django'):
        hybrid.install(app)


def test_a_framework_is_imported_only_when_given_one() -> None:
    code = (
        "import sys, hybrid, falcon.asgi, falcon\n"
        "hybrid.install(falcon.asgi.App()); hybrid.install(falcon.App()); hybrid.Middleware(None)\n"
        "print({'starlette', 'litestar', 'quart', 'flask', 'django', 'asgiref'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_a_large_array_is_not_copied_for_our_own_server() -> None:
    array = np.arange(100_000, dtype="f8")
    answer = ArrayAnswer(array)
    head, *pieces = answer.pieces(as_views=True)
    assert len(head) + sum(map(len, pieces)) == answer.size
    assert all(np.shares_memory(np.frombuffer(piece, "u1"), array) for piece in pieces)
    assert all(type(piece) is bytes for piece in answer.pieces(as_views=False))
