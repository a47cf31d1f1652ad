"""What runs on a node, and the records that node and scheduler exchange."""
