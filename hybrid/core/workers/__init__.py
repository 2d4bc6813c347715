"""Decisions about workers: their life, who is started, replaced, drained, and why one is gone."""
