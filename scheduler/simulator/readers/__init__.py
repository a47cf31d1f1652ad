"""Workloads from files: a reader gives the jobs that it read and, with their numbers, the lines it could not."""
