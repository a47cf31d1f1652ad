"""What a store says of itself: its name, the epoch that fences leaders, and the version of its tables.

Every table of the store registers itself in `METADATA`, by a module that `tables.py` imports.
"""

from sqlalchemy import Column, Integer, MetaData, String, Table, select, true

METADATA = MetaData()

IDENTITY = Table(
    "store_identity",
    METADATA,
    Column("only", Integer, primary_key=True),
    Column("store_id", String(36), nullable=False),
    Column("epoch", Integer, nullable=False),
)

# Alembic's own table: one row, the newest revision that the store has been through.
VERSION = Table("alembic_version", METADATA, Column("version_num", String(32), primary_key=True))

# Locked for share by every transaction that writes, so that none is under way while an upgrade writes the row; a
# transaction that waited for an upgrade sees what the upgrade wrote.
PRESENT_VERSION = select(VERSION.c.version_num).with_for_update(read=True)
PRESENT = (
    select(IDENTITY.c.epoch, IDENTITY.c.store_id, VERSION.c.version_num)
    .select_from(IDENTITY.join(VERSION, true()))
    .where(IDENTITY.c.only == 1)
)
PRESENT_FOR_LEADER = PRESENT.with_for_update(read=True)
