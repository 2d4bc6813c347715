"""Which process listens, and connections that the primary hands to workers."""
