"""Results as text, page and picture."""
