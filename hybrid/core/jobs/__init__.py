"""Decisions about jobs: admission, deadlines, the life of a ticket, which job holds the GIL."""
