"""The resource manager: one table of types, one engine of operations, one of errors, one state."""
