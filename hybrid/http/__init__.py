"""Bytes to ASGI and back: accepting, the connection, limits, drain. Knows no Falcon and no job."""
