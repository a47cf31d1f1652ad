"""What the runner's tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from node_bootstrap.runner.http import Http
from node_bootstrap.runner.metadata import Metadata
from node_bootstrap.runner.settings import RunnerSettings
from node_bootstrap.runner.storage import Storage
from tests.node_bootstrap.runner.fake_azure import FakeAzure, Server


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    """A metadata address and a storage account."""
    azure = FakeAzure()
    with Server(azure):
        yield azure


@pytest.fixture
def storage(azure: FakeAzure) -> Iterator[Storage]:
    """A client of them."""
    client = Http()
    yield Storage(client, Metadata(client, "identity", azure.url), f"{azure.url}/blob/", f"{azure.url}/queue/")
    client.close()


@pytest.fixture
def settings(azure: FakeAzure, tmp_path: Path) -> RunnerSettings:
    """The settings of a node that uses them."""
    return RunnerSettings(
        node_id="set_0",
        pool="pool",
        blob_endpoint=f"{azure.url}/blob/",
        queue_endpoint=f"{azure.url}/queue/",
        work_queue="work",
        events_queue="events",
        identity_client_id="identity",
        task_slots=2,
        status_interval_seconds=10.0,
        bundle_sha256="ab" * 32,
        root=tmp_path / "root",
    )
