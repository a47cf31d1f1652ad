"""The controller over each kind of database."""

import pytest


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """Give the address of an empty store, on the two kinds of database."""
    return "sqlite://" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))
