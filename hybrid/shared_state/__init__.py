"""State that all workers share: one contract, five stores behind it, and what is built on it."""
