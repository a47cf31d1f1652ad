"""A PostgreSQL of one's own, that needs no root and nothing installed by hand."""
