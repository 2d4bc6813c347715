"""From bytes to a request; no socket is touched here."""
