"""The ASGI scope of a request."""

from __future__ import annotations

from typing import Any

from hybrid.core.departure import Departure
from hybrid.http.exchange.client_connection import ClientConnection
from hybrid.http.request.forwarded import Address, scheme_of
from hybrid.http.request.message import Request

# Shared by all requests: an application has no reason to change them.
_ASGI = {"version": "3.0", "spec_version": "2.4"}
_NO_DETAILS: dict[str, Any] = {}


def http_scope(
    connection: ClientConnection, request: Request, request_id: str, departure: Departure
) -> dict[str, Any]:
    """Return the scope: a new dictionary, which the application may change.

    So the server reads nothing from it, or from its headers, once the application has it.

    The extension ``hybrid.departure`` is the request's `Departure`.
    """
    shared, headers = connection.shared, request.headers
    root_path = shared.settings.root_path
    client, scheme = connection.client, connection.scheme
    if request.is_forwarded and connection.is_trusted:
        client, scheme = _as_forwarded(connection, request)
        request.client = client
    return {
        "type": "http",
        "asgi": _ASGI,
        "http_version": request.http_version,
        "method": request.method,
        "scheme": scheme,
        "path": root_path + request.path if root_path else request.path,
        "raw_path": request.raw_path,
        "query_string": request.query,
        "root_path": root_path,
        "headers": headers if shared.log is None else headers.copy(),  # the log reads them later
        "client": client,
        "server": connection.server,
        "state": {**shared.state, "request_id": request_id},
        "extensions": {"http.response.pathsend": _NO_DETAILS, "hybrid.departure": departure},
    }


def websocket_scope(scope: dict[str, Any], headers: list[tuple[bytes, bytes]]) -> None:
    """Turn the scope of a handshake into that of a WebSocket."""
    offered = b",".join(value for name, value in headers if name == b"sec-websocket-protocol")
    names = (name.strip() for name in offered.decode("latin-1").split(","))
    scope["type"] = "websocket"
    scope["scheme"] = "wss" if scope["scheme"] == "https" else "ws"
    scope["subprotocols"] = [name for name in names if name]
    del scope["method"]
    extensions = scope["extensions"]
    del extensions["http.response.pathsend"]
    extensions["websocket.http.response"] = {}


def _as_forwarded(connection: ClientConnection, request: Request) -> tuple[Address | None, str]:
    """Return client and scheme from the headers of a trusted proxy."""
    client, scheme = connection.client, connection.scheme
    if request.forwarded_for is not None:
        client = connection.shared.trusted.client_of(request.forwarded_for) or client
    if request.forwarded_proto is not None:
        scheme = scheme_of(request.forwarded_proto, scheme)
    return client, scheme
