"""All tables of the store in one place: whoever makes or compares them imports `METADATA` from here."""

from scheduler.adapters.sql import fleet_schema, job_schema
from scheduler.adapters.sql.identity import METADATA

__all__ = ["METADATA", "fleet_schema", "job_schema"]
