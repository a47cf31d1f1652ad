"""A folder in which a server can run that root starts as another account."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder that all may enter, as pytest's own are not."""
    made = Path(tempfile.mkdtemp(prefix="millpond-test-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)
