"""The pool beside its peers, and in a server."""
