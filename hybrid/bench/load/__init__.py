"""The load generator: open loop, one process, intended times."""
