"""Arrays in shared memory: who may write where, and when a block is free again."""
