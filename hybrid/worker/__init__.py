"""What runs in an I/O worker: one event loop that serves, and the pool beside it."""
