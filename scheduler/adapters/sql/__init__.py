"""The store in SQL: SQLite by default, PostgreSQL when the scheduler must outlive its host."""
