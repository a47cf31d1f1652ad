"""The task runner: what a node runs. Standard library only, Python 3.11 or newer, Linux and Windows."""
