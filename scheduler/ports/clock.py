"""Where time comes from."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Where `now` comes from; a manual one in simulations."""

    def now(self) -> datetime:
        """Give the present instant, aware, in UTC."""
        ...
