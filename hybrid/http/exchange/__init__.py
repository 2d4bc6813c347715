"""One request and its answer, as the application sees them."""
