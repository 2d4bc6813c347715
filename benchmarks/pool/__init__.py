"""The pool compared with its peers, and in a server."""
