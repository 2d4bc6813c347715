"""One module a kind of store: what each does to keep the contract."""
