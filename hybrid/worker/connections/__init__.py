"""Connections that the primary hands to this worker."""
