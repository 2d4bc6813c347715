"""hybrid's HTTP connections beside those of other servers (``make bench-http``)."""
