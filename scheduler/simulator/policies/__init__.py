"""Scaling policies that the simulator replays."""
