"""A WSGI application behind the event loop: its threads, and a request on its way through one."""
