"""Replays of workloads through any scaling policy: what it would have cost, and how long work would have waited."""
