"""Bytes to ASGI and back: accepting, the connection, limits, drain. Knows no framework, no jobs."""
