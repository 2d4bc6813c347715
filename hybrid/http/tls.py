"""TLS for the listeners: certificate and key; 1.2 or newer, no compression, no renegotiation."""

from __future__ import annotations

import ssl
from pathlib import Path

from hybrid.errors import ConfigError


def server_context(certfile: Path, keyfile: Path | None = None) -> ssl.SSLContext:
    """Return a context that speaks TLS 1.2 or newer, and HTTP/1.1 by ALPN.

    Raises:
        ConfigError: a file is missing, unreadable, or the key is not the certificate's.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certfile, keyfile)
    except (OSError, ssl.SSLError) as ex:
        raise ConfigError(f"--certfile {certfile}, --keyfile {keyfile}: {ex}") from ex
    return context
