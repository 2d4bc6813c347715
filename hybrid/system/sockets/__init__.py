"""Sockets as the kernel knows them: listeners, links, passing a connection on."""
