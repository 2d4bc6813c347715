"""Measuring `hybrid` (or any HTTP server) honestly, from outside.

What this folder knows: how to offer load without hiding latency (`load`), how to
start a real server and account for its whole process tree (`server`), when a figure
may be believed (`matrix.gates`, `theory.statistics`), and how the rows of the
decision matrix become verdicts (`matrix`, `verdict`).

Nothing of the server imports this package; it drives the server as a separate
process, exactly as a user would. Importing the package imports nothing heavy.
"""
