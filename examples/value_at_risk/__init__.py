"""Value at risk of a stock portfolio by simulation: many tasks, one merge."""
