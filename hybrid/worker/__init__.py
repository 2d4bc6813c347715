"""What runs in an I/O worker: one event loop that serves, and its pool."""
