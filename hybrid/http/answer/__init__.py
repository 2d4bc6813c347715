"""From what the application sends to bytes."""
