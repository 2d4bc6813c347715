"""One client connection: its states, its deadlines, its end."""
