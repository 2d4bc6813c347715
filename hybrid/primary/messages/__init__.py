"""Messages between workers that pass through the primary, and who leads."""
