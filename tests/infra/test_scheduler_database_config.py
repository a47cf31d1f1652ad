"""The settings of the scheduler's database: what is right without a word, and what is refused with its path."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra import naming
from infra.config.scheduler_database import STORAGE_GIB, HighAvailability
from infra.config.scheduler_host import SchedulerHostConfig
from tests.infra.test_scheduler_host_config import problems

LONGER = st.text("abcxyz0189-", max_size=70)


def test_a_database_needs_no_settings() -> None:
    """An empty section is a small server that keeps backups and grows."""
    database = SchedulerHostConfig.model_validate({"database": {}}).database
    assert database is not None
    assert (database.tier, database.version) == ("Burstable", "16")
    assert database.high_availability is HighAvailability.NONE
    assert SchedulerHostConfig().database is None


def test_every_mistake_is_found_at_once() -> None:
    """Six wrong settings are six findings, each under the database's path."""
    found = problems(
        database={
            "name": "Psql",
            "sku": "Standard_D2s_v5",
            "version": 9,
            "storage_gib": 33,
            "backup_days": 3,
            "password": "x",
        }
    )
    wrong = ("name", "sku", "version", "storage_gib", "backup_days", "password")
    assert set(found) == {f"database.{name}" for name in wrong}
    assert "no hyphen at either end" in found["database.name"]
    assert "Standard_D2ds_v5" in found["database.sku"]
    assert "write one of 32, 64, 128" in found["database.storage_gib"]


@pytest.mark.parametrize(
    ("database", "what"),
    [
        ({"high_availability": "zone-redundant"}, "Standard_B2s has no high availability"),
        ({"standby_zone": "1"}, "leave standby_zone out"),
        (
            {"sku": "Standard_D2ds_v5", "high_availability": "same-zone", "standby_zone": "2"},
            "leave standby_zone out",
        ),
        (
            {"sku": "Standard_D2ds_v5", "high_availability": "zone-redundant", "zone": "1", "standby_zone": "1"},
            "both servers would be in zone 1",
        ),
    ],
)
def test_what_does_not_go_together(database: dict[str, object], what: str) -> None:
    """High availability needs a size that has it, and a second zone of its own."""
    assert what in problems(database=database)["database"]


def test_two_places_for_one_store() -> None:
    """A data disk that is written beside a database is a mistake, because nothing would be on it."""
    assert "leave one of them out" in problems(database={}, data_disk={"size_gib": 64})["database"]


@pytest.mark.parametrize("version", [16, "16"])
def test_a_version_may_be_a_number(version: object) -> None:
    """YAML reads 16 as a number; it is the same version."""
    database = SchedulerHostConfig.model_validate({"database": {"version": version}}).database
    assert database is not None
    assert database.version == "16"


@given(LONGER)
def test_names_of_servers(name: str) -> None:
    """A name is taken exactly when Azure takes it: its length, its characters, and its ends."""
    fits = 3 <= len(name) <= 63 and not name.startswith("-") and not name.endswith("-")
    assert naming.is_database_server(name) == fits


@given(st.integers(0, 20000))
def test_storage_sizes(size: int) -> None:
    """Only sizes that there are disks of are taken."""
    if size in STORAGE_GIB:
        SchedulerHostConfig.model_validate({"database": {"storage_gib": size}})
    else:
        assert "there is no disk" in problems(database={"storage_gib": size})["database.storage_gib"]
