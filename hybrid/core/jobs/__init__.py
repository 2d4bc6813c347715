"""Decisions about jobs: admission, deadlines, the life of a ticket, who holds the GIL."""
