"""What a worker does ten times a second: its figures, its limits, its watchdog."""
