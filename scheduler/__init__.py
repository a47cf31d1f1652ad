"""Runs jobs of many tasks on pools of nodes, and sizes the pools by their queue."""
