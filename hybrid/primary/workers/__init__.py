"""The worker processes: forking, reaping, what happened to them."""
