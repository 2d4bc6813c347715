"""Statistics, queueing formulas, a simulation."""
