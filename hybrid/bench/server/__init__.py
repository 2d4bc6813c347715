"""The server under test: where it runs, what it costs, what machine this is."""
