"""Where what was fetched or built is kept for the next time."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Give the project's part of the user's cache: `$XDG_CACHE_HOME/millpond`, else `~/.cache/millpond`."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(configured) if Path(configured).is_absolute() else Path.home() / ".cache"
    return base / "millpond"
