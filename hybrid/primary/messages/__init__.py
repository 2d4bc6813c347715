"""Messages between workers that pass through the primary, and which one leads."""
