"""The revisions of the store's tables, oldest first: each brings a store of the one before it to the next.

A store that was made by any released scheduler must be brought to the newest, so a revision is never changed once it
is in a release. A new one comes from `make revision m="..."`.
"""

from typing import Protocol

from alembic.operations import Operations

from scheduler.adapters.sql.revisions import r0001_jobs_and_nodes, r0002_learning


class Revision(Protocol):
    """A module here, in Alembic's form, except that `upgrade` takes what other scripts import as `op`."""

    @property
    def revision(self) -> str:
        """Its number."""
        ...

    @property
    def down_revision(self) -> str | None:
        """The number of the one before."""
        ...

    def upgrade(self, op: Operations) -> None:
        """Bring a store of `down_revision` to this one, its rows included."""
        ...


REVISIONS: tuple[Revision, ...] = (
    r0001_jobs_and_nodes,
    r0002_learning,
)
NUMBERS = tuple(each.revision for each in REVISIONS)
HEAD = NUMBERS[-1]
