"""A fresh local Azure for clients of others, and the environment that leads them to it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.cache import cache_folder
from infra.local.processes import kill_all, of_folder
from infra.local.services.compute.settings import ComputeSettings
from tests.infra.local.conftest import RunningAzure

_SETTINGS = ComputeSettings(boot_delay_seconds=0.0, eviction_notice_seconds=0.1)


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAzure]:
    """Serve a local Azure for all tests of a module."""
    served = RunningAzure(tmp_path_factory.mktemp("azure"), _SETTINGS)
    yield served
    served.close()
    kill_all(of_folder(served.layout.local))


@pytest.fixture(scope="module")
def client_environment(azure: RunningAzure, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return variables with which any client finds the local Azure, trusts it, and cannot go further."""
    bundle = str(azure.azure.certificates.bundle)
    account = azure.azure.account
    nowhere = dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), "http://127.0.0.1:9")
    near = dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost")
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(tmp_path_factory.mktemp("client")),
        "REQUESTS_CA_BUNDLE": bundle,
        "SSL_CERT_FILE": bundle,
        "NODE_EXTRA_CA_CERTS": bundle,
        "AZURE_AUTHORITY_HOST": azure.azure.arm_url,
        "AZURE_TENANT_ID": account.tenant_id,
        "AZURE_CLIENT_ID": account.deployer.client_id,
        "AZURE_CLIENT_SECRET": account.identity_header,
        "AZURE_SUBSCRIPTION_ID": account.subscription_id,
        "ARM_ENDPOINT": azure.azure.arm_url,
        **nowhere,
        **near,
    }


def opted_in(variable: str) -> bool:
    """Say whether the user asked for these clients."""
    return os.environ.get(variable, "") == "1"


def cached(name: str) -> Path:
    """Return a folder in the user's cache for a client's packages."""
    return cache_folder() / name
