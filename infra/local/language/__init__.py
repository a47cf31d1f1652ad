"""The Python language host for plain `pulumi`, used where the official one is not installed."""
