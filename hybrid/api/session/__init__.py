"""Sessions: what a client's requests have in common, in a store or in a signed cookie."""
