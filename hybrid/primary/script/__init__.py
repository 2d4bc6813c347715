"""A script that is its own primary."""
