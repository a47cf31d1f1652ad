"""Which tasks go to which queue, what a report means, and what has become of a message: pure decisions."""
