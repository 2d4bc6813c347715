"""Which topology fits the user's own endpoints or jobs."""
