"""A real Azurite, started once a module for the suites that need storage."""

from collections.abc import Iterator

import pytest

from tests.azurite import Storage, azurite


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """Give an account with the containers and the events queue, gone with the module."""
    with azurite(tmp_path_factory.mktemp("azurite")) as made:
        yield made
