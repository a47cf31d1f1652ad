"""The official clients for Go: `make test-clients` builds them and asks for this test."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import cached, opted_in

HERE = Path(__file__).parent

pytestmark = [
    pytest.mark.skipif(not opted_in("MILLPOND_TEST_CLIENTS"), reason="MILLPOND_TEST_CLIENTS is not 1"),
    pytest.mark.skipif(shutil.which("go") is None, reason="go is not there"),
    pytest.mark.timeout(1800),
]


def test_go_clients(client_environment: dict[str, str]) -> None:
    """Groups, identities, networks, accounts, scale sets and their instances are managed by the unchanged modules."""
    program = cached("clients-go") / "client"
    program.parent.mkdir(parents=True, exist_ok=True)
    build = ["go", "build", "-mod=mod", "-o", str(program), "."]
    subprocess.run(build, cwd=HERE, env=os.environ | {"GOFLAGS": "-mod=mod"}, check=True)
    done = subprocess.run([program], env=client_environment, capture_output=True, text=True, check=False)
    assert done.stderr.endswith("done\n"), done.stderr
