"""The official clients for JavaScript: `make test-clients` installs them and asks for this test."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import cached, opted_in

HERE = Path(__file__).parent
FILES = ("client.mjs", "package.json")

pytestmark = [
    pytest.mark.skipif(not opted_in("MILLPOND_TEST_CLIENTS"), reason="MILLPOND_TEST_CLIENTS is not 1"),
    pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not there"),
    pytest.mark.timeout(900),
]


def test_javascript_clients(client_environment: dict[str, str]) -> None:
    """Groups, networks, accounts, scale sets and their instances are managed by the unchanged packages."""
    folder = cached("clients-js")
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(HERE / name, folder / name)
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent"], cwd=folder, check=True)
    command = ["node", "client.mjs"]
    done = subprocess.run(command, cwd=folder, env=client_environment, capture_output=True, text=True, check=False)
    assert done.stdout.endswith("done\n"), done.stderr
