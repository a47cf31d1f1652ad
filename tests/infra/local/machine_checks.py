"""What tests of machines ask: what runs on one, and whether something becomes true."""

import time
from collections.abc import Callable

import psutil
import pytest
from azure.core.exceptions import HttpResponseError

from infra.local.processes import marked, of_instance
from tests.infra.local.conftest import RunningAzure


def processes(running: RunningAzure, key: str) -> list[psutil.Process]:
    """List the processes of a machine."""
    return [process for process, _ in marked(of_instance(key, running.layout.instances / key / "root"))]


def eventually(holds: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something holds; fail when it does not."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def code_of(refused: "pytest.ExceptionInfo[HttpResponseError]") -> str:
    """Return the code in Azure's error envelope."""
    assert refused.value.error is not None
    return str(refused.value.error.code)
