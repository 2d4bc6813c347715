"""From bytes to a request: sans-I/O."""
