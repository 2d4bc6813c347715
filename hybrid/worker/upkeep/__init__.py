"""What a worker does at regular times: its figures, its limits, its watchdog."""
