"""The process lane: the worker's half, the pool process's half, what they say to each other."""
