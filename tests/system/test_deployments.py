"""Deployments of everything that a stack can declare, by the real engine as a user starts it, on a local Azure."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.project import Project, copy_of_the_project

KEY_VAULT = {
    "id": (
        "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.KeyVault"
        "/vaults/kv-batch"
    ),
    "url": "https://kv-batch.vault.azure.net/",
}
SPOT = {"priority": "spot", "spot_max_price": 0.12345}
DISKS = {"os_disk": {"size_gb": 64, "ephemeral": True}, "data_disk": {"size_gb": 128, "type": "Premium_LRS"}}
RISK = {
    "name": "risk",
    "image": "ubuntu-24.04",
    "groups": [{"name": "d4ds", "vm_size": "Standard_D4ds_v4", "zones": ["1", "2"], **DISKS}],
    "spot_share": 0.5,
}
BATCHY = {
    "name": "batchy",
    "kind": "batch",
    "image": "Canonical:ubuntu-24_04-lts:server:latest",
    "groups": [
        {"name": "d2sv5", "vm_size": "Standard_D2s_v5", "zones": ["1", "2", "3"], "data_disk": {"size_gb": 32}},
        {"name": "d4sv5", "vm_size": "Standard_D4s_v5", "priority": "spot"},
    ],
}
PRICES: dict[str, Any] = {
    "name": "prices",
    "image": "ubuntu-24.04",
    "groups": [{"name": "d8dsv5", "vm_size": "Standard_D8ds_v5", **SPOT}],
}
WHOLE: dict[str, Any] = {
    "storage": {"redundancy": "ZRS", "soft_delete_days": 7},
    "batch": {"allocation_mode": "user-subscription", "key_vault": KEY_VAULT, "public_network_access": False},
    "network": {"storage_access": "private-endpoint", "deployers": ["198.51.100.7", "203.0.113.0/24"]},
    "tags": {"cost-centre": "7"},
    "pools": [RISK, BATCHY, PRICES],
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A copy of the project whose local Azure is up."""
    with copy_of_the_project(tmp_path_factory) as made:
        made.millpond("local", "up")
        yield made


def declare(project: Project, **values: Any) -> None:
    """Write these settings and no other, for the local environment unless they name another."""
    settings = project.settings()
    named = {"cloud": "local", "environment": "local", "location": "westeurope", **values}
    settings["config"] = {f"millpond:{name}": value for name, value in named.items()}
    project.declare(settings)


@pytest.fixture
def pulumi(project: Project) -> Callable[..., str]:
    """The engine's own command line, as it is used after `eval "$(millpond local env)"`."""

    def run(*words: str, expect: int = 0) -> str:
        return project.run(
            ["pulumi", *words, "--stack", "local", "--non-interactive"],
            expect=expect,
            environment=project.local_environment(),
        )

    return run


def sets(project: Project) -> dict[str, str]:
    """The set of each group as the deployment names it."""
    deployment = json.loads((Path(project.home) / "local" / "deployment.json").read_text())
    return {
        f"{pool['name']}/{group['name']}": group["scale_set"]
        for pool in deployment["pools"]
        for group in pool["groups"]
    }


def test_everything_at_once_is_deployed_and_stays(project: Project, pulumi: Callable[..., str]) -> None:
    """With every feature, a second `up` changes nothing, and neither does what a refresh finds."""
    declare(project, **WHOLE)
    project.millpond("up")
    assert set(sets(project)) == {
        "risk/d4ds",
        "risk/d4ds-spot",
        "batchy/d2sv5",
        "batchy/d4sv5",
        "prices/d8dsv5",
    }
    assert "nothing to change" in project.millpond("up")
    pulumi("refresh", "--yes", "--skip-preview", "--expect-no-changes")
    pulumi("preview", "--expect-no-changes")


def test_what_was_declared_before_may_come_back(project: Project) -> None:
    """A quick way back, and a pool that was taken out and put in again, stand beside what still works."""
    other = {**PRICES, "groups": [{**PRICES["groups"][0], "vm_size": "Standard_D16ds_v5"}]}
    seen: list[str] = []
    for pools in ([PRICES], [other], [PRICES], [], [PRICES]):
        declare(project, **{**WHOLE, "pools": pools, "batch": WHOLE["batch"]})
        project.millpond("up")
        seen.extend(sets(project).values())
    assert len(set(seen)) == len(seen)
    assert len({name[: -len("01234567")] for name in seen}) == 2


@pytest.mark.parametrize(("key", "value"), [("environment", "other"), ("location", "northeurope")])
def test_an_environment_is_neither_renamed_nor_moved(
    project: Project, pulumi: Callable[..., str], key: str, value: str
) -> None:
    """The change that would replace the group with all data is refused, before anything is written."""
    declare(project, pools=[PRICES])
    project.millpond("up")
    declare(project, pools=[PRICES], **{key: value})
    before = writes(project)
    assert "An environment is not renamed or moved" in pulumi("up", "--yes", "--skip-preview", expect=1)
    assert writes(project) == before


def test_three_mistakes_are_told_at_once(project: Project, pulumi: Callable[..., str]) -> None:
    """One run names all with their paths, by our command and by the engine's, and no resource is touched."""
    pool = {**PRICES, "image": "ubuntu-24.05", "scaling": {"min_nodes": 5, "max_nodes": 4}}
    declare(project, **{**WHOLE, "batch": {"name": "myBatch"}, "pools": [pool]})
    before = writes(project)
    for said in (project.millpond("up", expect=2), pulumi("up", "--yes", "--skip-preview", expect=1)):
        for path in ("millpond:batch.name", "millpond:pools[0].image", "millpond:pools[0].scaling"):
            assert f"{path}: " in said
    assert writes(project) == before


def writes(project: Project) -> int:
    """How many requests have changed something."""
    log = project.home / "local" / "requests.jsonl"
    return sum(entry["method"] not in {"GET", "HEAD"} for entry in project.requests()) if log.exists() else 0
