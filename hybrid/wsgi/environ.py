"""From an ASGI scope to a WSGI environ (PEP 3333)."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

_BLOCK = 64 * 1024  # bytes of a file that are read at once
_KNOWN = 1024  # different header names whose keys are remembered
_keys: dict[bytes, str] = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}


class FileWrapper:
    """``wsgi.file_wrapper``: a file as an answer; the server sends a real one by ``sendfile``."""

    def __init__(self, file: Any, block_size: int = _BLOCK) -> None:
        self.file, self._block_size = file, block_size
        if hasattr(file, "close"):  # the server calls it when the request is over
            self.close = file.close

    def __iter__(self) -> Iterator[bytes]:
        while block := self.file.read(self._block_size):
            yield block

    def duplicate(self, length: int | None) -> int | None:
        """Return a descriptor of the whole file, or None: it has to be read.

        Read has to be: what is no regular file, what is short, and a part of a file, because
        the server sends whole ones.

        Args:
            length: bytes that the answer has announced; None: it has not.
        """
        try:
            number = self.file.fileno()
            found = os.fstat(number)
            is_whole = not self.file.tell() and length in (None, found.st_size)
            if not stat.S_ISREG(found.st_mode) or found.st_size < _BLOCK or not is_whole:
                return None
            descriptor = os.dup(number)
        except (AttributeError, OSError, ValueError):
            return None
        if os.access(f"/proc/self/fd/{descriptor}", os.R_OK):
            return descriptor
        os.close(descriptor)
        return None


def environ_of(scope: dict[str, Any], *, is_multithreaded: bool) -> dict[str, Any]:
    """Return the environ of a request, without ``wsgi.input``.

    PATH_INFO has the bytes of the path as the client sent them; each is a character.
    """
    raw_path: bytes = scope["raw_path"]
    path = unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path
    query: bytes = scope["query_string"]
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": scope["root_path"].rstrip("/").encode().decode("latin-1"),
        "PATH_INFO": "/" if path == b"*" else path.decode("latin-1"),
        "QUERY_STRING": query.decode("latin-1"),
        "REQUEST_URI": (raw_path + b"?" + query if query else raw_path).decode("latin-1"),
        "SERVER_PROTOCOL": "HTTP/" + scope["http_version"],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": is_multithreaded,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,  # the end of the input is the end of the body
        "wsgi.file_wrapper": FileWrapper,
        "hybrid.request_id": scope["state"]["request_id"],
    }
    _add_addresses(environ, scope)
    for name, value in scope["headers"]:
        key = _keys.get(name)
        if key is None:
            key = _key_of(name)
        if not key:
            continue
        text = value.decode("latin-1")
        if key in environ:
            text = environ[key] + ("; " if key == "HTTP_COOKIE" else ",") + text
        environ[key] = text
    return environ


def _add_addresses(environ: dict[str, Any], scope: dict[str, Any]) -> None:
    host, port = scope["server"] or ("localhost", None)
    if port is None:  # a Unix socket has no port; every environ has one
        host, port = "localhost", 443 if scope["scheme"] == "https" else 80
    environ["SERVER_NAME"], environ["SERVER_PORT"] = host, str(port)
    client = scope["client"]
    if client is not None:
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = client[0], str(client[1])
    else:
        environ["REMOTE_ADDR"] = ""


def _key_of(name: bytes) -> str:
    """Return the key of a header; empty: the application must not see it.

    Why a name with an underscore is dropped: in an environ ``X_Forwarded_For`` could not be told
    from ``X-Forwarded-For``, which a proxy guards. nginx and gunicorn drop it as well.
    """
    key = "" if b"_" in name else "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
    if len(_keys) < _KNOWN:
        _keys[name] = key
    return key
