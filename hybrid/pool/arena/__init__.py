"""Arrays in shared memory: which process may write where, and when a block is free again."""
