"""Messages from this worker to the primary and other workers, and from them to it."""
