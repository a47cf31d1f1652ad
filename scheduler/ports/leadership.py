"""Which of several schedulers leads."""

from typing import Protocol


class LeaderLease(Protocol):
    """Elects one scheduler of many; the epoch in the store fences what it writes."""

    def hold(self, store_id: str) -> bool:
        """Acquire or renew, and say whether this process leads now.

        Raises `ConflictError` when the leader blob names another store.
        """
        ...

    def release(self) -> None:
        """Give the lease up, if held."""
        ...
