"""What this worker says to the primary and to other workers, and hears from them."""
