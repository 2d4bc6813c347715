"""What may be concluded from the figures, in words."""
