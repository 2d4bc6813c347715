"""What a worker does by the clock: its figures, its limits, its watchdog."""
