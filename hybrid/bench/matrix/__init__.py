"""The decision matrix: its scenarios, its cells, the run."""
