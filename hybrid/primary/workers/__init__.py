"""The worker processes: forking, killing, reaping, and the events of their life."""
