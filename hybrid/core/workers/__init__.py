"""Decisions about workers: which are started, replaced, drained, killed, and how each ended."""
