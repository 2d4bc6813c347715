"""Processes as the kernel knows them: fork, signals, CPU budget, memory, priorities."""
