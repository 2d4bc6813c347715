"""Decisions without I/O: state machines, policies, messages.

Nothing here reads a clock, opens a file or starts a process; time and randomness
are passed in. So every rule of the cluster can be tested in microseconds.
"""
