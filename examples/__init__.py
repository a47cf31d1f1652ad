"""One folder a use case, each runnable."""
