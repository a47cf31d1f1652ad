"""Databases: PostgreSQL flexible servers, each with a real server behind it."""
