"""Memory that processes share: the arena for arrays, the permits."""
