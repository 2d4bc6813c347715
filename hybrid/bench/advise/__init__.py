"""Which topology fits somebody's own endpoints or jobs."""
