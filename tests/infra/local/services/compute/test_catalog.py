"""Sizes, usages and images of the local Azure, through the unchanged compute client."""

import csv
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from hypothesis import given
from hypothesis import strategies as st

from infra.catalog import IMAGES
from infra.local.services.compute.platform_images import PLATFORM_IMAGES, check_reference
from infra.local.services.compute.vm_sizes import SIZES, size_of
from scheduler.catalog import VM_SIZES, family_of
from tests.infra.local.conftest import GROUP, RunningAzure, scale_set_body
from tests.infra.local.machine_checks import code_of

_BATCH_SIZES = Path(__file__).parents[6] / "shared/azure/vm-sizes/azure-batch-supported-vm-sizes-2025-03-04.csv"


def _create(running: RunningAzure, name: str, body: dict[str, Any]) -> Any:
    return running.compute.virtual_machine_scale_sets.begin_create_or_update(GROUP, name, body).result(30)


def _usages(running: RunningAzure) -> dict[str, tuple[int, int]]:
    rows = running.compute.usage.list("westeurope")
    return {row.name.value: (row.current_value, row.limit) for row in rows}


def test_cores_are_counted_over_all_sets_of_a_region(running: RunningAzure) -> None:
    """Two sets share one quota; usages show what is used; what is deallocated or deleted uses none."""
    _create(running, "one", scale_set_body(6))
    _create(running, "two", scale_set_body(3))
    assert _usages(running)["cores"] == (18, 20)
    assert _usages(running)["standardDSv5Family"] == (18, 20)
    assert _usages(running)["virtualMachineScaleSets"][0] == 2
    sets = running.compute.virtual_machine_scale_sets
    with pytest.raises(ResourceExistsError, match=r"Current Limit: 20, Current Usage: 18, Additional Required: 4"):
        sets.begin_update(GROUP, "two", {"sku": {"capacity": 5}})
    sets.begin_deallocate(GROUP, "one").result(30)
    assert _usages(running)["cores"] == (6, 20)
    sets.begin_update(GROUP, "two", {"sku": {"capacity": 5}}).result(30)
    sets.begin_delete_instances(GROUP, "two", {"instanceIds": ["*"]}).result(30)
    assert _usages(running)["cores"] == (0, 20)


def test_spot_cores_have_a_quota_of_their_own(running: RunningAzure) -> None:
    """Spot machines use the low-priority quota and leave the regional one alone."""
    body = scale_set_body(2)
    body["properties"]["virtualMachineProfile"]["priority"] = "Spot"
    _create(running, "spot", body)
    usages = _usages(running)
    assert (usages["lowPriorityCores"][0], usages["cores"][0]) == (4, 0)


def test_sizes_are_told_with_their_capabilities(running: RunningAzure) -> None:
    """SKUs of a region have cores, memory, zones and whether Spot takes them; sizes are the same."""
    skus = {sku.name: sku for sku in running.compute.resource_skus.list(filter="location eq 'westeurope'")}
    assert skus.keys() >= VM_SIZES.keys()
    known = {pair.name: pair.value for pair in skus["Standard_D8ds_v5"].capabilities}
    assert (known["vCPUs"], known["MemoryGB"], known["LowPriorityCapable"]) == ("8", "32", "True")
    assert skus["Standard_D8ds_v5"].location_info[0].zones == ["1", "2", "3"]
    assert skus["Standard_B2s"].capabilities != []
    sizes = {size.name: size.number_of_cores for size in running.compute.virtual_machine_sizes.list("westeurope")}
    assert sizes == {name: int(_capability(sku, "vCPUs")) for name, sku in skus.items()}
    with pytest.raises(HttpResponseError, match="say location eq"):
        list(running.compute.resource_skus.list(filter="name eq 'x'"))


def _capability(sku: Any, name: str) -> str:
    return next(str(pair.value) for pair in sku.capabilities if pair.name == name)


def test_images_are_found_from_publisher_to_version(running: RunningAzure) -> None:
    """A client gets from publishers to the newest version of an image, and finds every image of the catalogue."""
    images = running.compute.virtual_machine_images
    assert "Canonical" in {found.name for found in images.list_publishers("westeurope")}
    assert "ubuntu-24_04-lts" in {found.name for found in images.list_offers("westeurope", "Canonical")}
    assert "server" in {found.name for found in images.list_skus("westeurope", "Canonical", "ubuntu-24_04-lts")}
    place = ("westeurope", "Canonical", "ubuntu-24_04-lts", "server")
    every = [found.name for found in images.list(*place)]
    (newest,) = images.list(*place, top=1, orderby="name desc")
    assert newest.name == max(every)
    found = images.get(*place, newest.name)
    assert (found.os_disk_image.operating_system, found.hyper_v_generation) == ("Linux", "V2")
    for image in IMAGES.values():
        assert list(images.list("westeurope", image.publisher, image.offer, image.sku))
    with pytest.raises(ResourceNotFoundError):
        images.list_offers("westeurope", "nobody")


def test_an_unknown_image_or_size_is_refused_before_anything_is_made(running: RunningAzure) -> None:
    """The refusals have Azure's codes; that of a size names those that there are."""
    body = scale_set_body(0)
    body["properties"]["virtualMachineProfile"]["storageProfile"]["imageReference"]["sku"] = "none"
    with pytest.raises(ResourceNotFoundError, match="Canonical:ubuntu-24_04-lts:none:latest") as image:
        _create(running, "pool", body)
    assert code_of(image) == "PlatformImageNotFound"
    body = scale_set_body(0) | {"sku": {"name": "Standard_Z1", "capacity": 0}}
    with pytest.raises(HttpResponseError, match="Standard_D2s_v5") as size:
        _create(running, "pool", body)
    assert code_of(size) == "InvalidParameter"
    assert list(running.compute.virtual_machine_scale_sets.list(GROUP)) == []


@given(st.sampled_from(sorted(SIZES)), st.data())
def test_sizes_compare_without_case(name: str, data: st.DataObject) -> None:
    """However a size is spelled, the same one is found."""
    spelled = "".join(data.draw(st.sampled_from([letter.upper(), letter.lower()])) for letter in name)
    assert size_of(spelled, "vmSize").name.lower() == name


@given(st.sampled_from(sorted(PLATFORM_IMAGES)))
def test_every_image_may_be_referred_to(key: tuple[str, str, str]) -> None:
    """The newest version, and each listed one, is taken; versions are in order."""
    image = PLATFORM_IMAGES[key]
    assert list(image.versions) == sorted(set(image.versions))
    for version in ("latest", *image.versions):
        reference = {"publisher": image.publisher, "offer": image.offer, "sku": image.sku, "version": version}
        check_reference({"storageProfile": {"imageReference": reference}})


@pytest.mark.skipif(not _BATCH_SIZES.exists(), reason="the reference tables are not here")
def test_families_cores_and_memory_are_those_of_azure() -> None:
    """Of every size that the reference table has, too, family, cores, memory and Spot are the same."""
    with _BATCH_SIZES.open() as table:
        rows = {row["size"].lower(): row for row in csv.DictReader(table)}
    compared = [size for name, size in SIZES.items() if name in rows]
    assert len(compared) > 40
    for size in compared:
        row = rows[size.name.lower()]
        assert (size.name, family_of(size.name), size.vcpus, size.memory_gib) == (
            size.name,
            row["family"],
            int(row["vcpus"]),
            float(row["memory_gib"]),
        )
