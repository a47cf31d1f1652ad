"""Templates of the resource manager: their expressions, and what they declare."""
