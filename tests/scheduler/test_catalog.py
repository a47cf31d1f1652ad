"""The catalogue of VM sizes."""

from pathlib import Path

import pytest

from scheduler.catalog import VM_SIZES, VmSize

PRICES = Path(__file__).parents[3] / "shared" / "azure" / "prices" / "azure-vm-linux-payg-selected-2026-06-18.csv"


@pytest.mark.parametrize("size", VM_SIZES.values(), ids=lambda size: size.name)
def test_prices_are_ordered(size: VmSize) -> None:
    """Windows costs more than Linux, and Spot less than pay-as-you-go, for every size."""
    assert 0 < size.usd_per_hour(spot=True) < size.usd_per_hour() < size.usd_per_hour(windows=True)
    assert size.usd_per_hour(windows=True, spot=True) < size.usd_per_hour(windows=True)
    assert size.vcpus > 0
    assert size.memory_gib > 0


def test_known_prices() -> None:
    """The common sizes cost what the price table says."""
    size = VM_SIZES["Standard_D2s_v5"]
    assert (size.vcpus, size.memory_gib) == (2, 8)
    assert size.linux_usd_per_hour == 0.096
    assert size.windows_usd_per_hour == pytest.approx(0.188)
    assert VM_SIZES["Standard_F4s_v2"].windows_usd_per_hour == pytest.approx(0.325)


def test_prices_agree_with_the_table() -> None:
    """Every Linux price that the saved table has is the same here."""
    if not PRICES.exists():
        pytest.skip("the saved price table is not on this machine")
    header, *rows = (line.split(",") for line in PRICES.read_text(encoding="utf-8").splitlines())
    table = {row[0]: float(row[header.index("eastus")]) for row in rows}
    compared = {name: (size.linux_usd_per_hour, table[name]) for name, size in VM_SIZES.items() if name in table}
    assert len(compared) > 20
    assert {name: pair for name, pair in compared.items() if pair[0] != pytest.approx(pair[1], rel=0.005)} == {}
