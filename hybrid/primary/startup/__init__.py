"""Before the first fork: sockets, preloaded modules, shared memory."""
