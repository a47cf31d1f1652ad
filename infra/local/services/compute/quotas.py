"""Quotas of cores: what a subscription uses of each region and family of sizes, and what it may."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from infra.local.arm.errors import ArmError, conflict
from infra.local.arm.store import Resource, Store
from infra.local.services.compute.machine_power import ALLOCATION_CODES, Power
from infra.local.services.compute.settings import ComputeSettings
from infra.local.services.compute.vm_sizes import SIZES, SizeFacts

REGIONAL = "cores"
SPOT = "lowPriorityCores"

_MACHINES = ("Microsoft.Compute/virtualMachineScaleSets/virtualMachines", "Microsoft.Compute/virtualMachines")
_SETS = "Microsoft.Compute/virtualMachineScaleSets"

# What a subscription may have of each in a region (Azure's list of service limits); nothing here comes near.
_COUNTS = {
    "availabilitySets": ("Availability Sets", 2500),
    "virtualMachines": ("Virtual Machines", 25000),
    "virtualMachineScaleSets": ("Virtual Machine Scale Sets", 2500),
}


class Quotas:
    """Counts cores by what is there; deallocated machines use none, except evicted Spot ones."""

    def __init__(self, store: Store, settings: ComputeSettings) -> None:
        self._store = store
        self._settings = settings

    def check(self, location: str, size: SizeFacts, count: int, *, spot: bool) -> None:
        """Refuse `count` more machines of a size when that exceeds a quota."""
        used = self._cores(location)
        wanted = [(SPOT, "LowPriorityCores", self._settings.spot_cores)]
        if not spot:
            limit = self._settings.regional_cores
            wanted = [(REGIONAL, "Total Regional Cores", limit), (size.family, f"{size.family} Cores", limit)]
        for name, title, limit in wanted:
            if count * size.vcpus + used[name] > limit:
                raise exceeded(location, title, limit, used[name], count * size.vcpus)

    def exhausted(self, location: str, size: SizeFacts, count: int) -> ArmError:
        """Return the refusal that an injected fault wants: as if the quota were what is used now."""
        used = self._cores(location)[REGIONAL]
        return exceeded(location, "Total Regional Cores", used, used, max(1, count) * size.vcpus)

    def usages(self, location: str) -> dict[str, Any]:
        """Return what `usages` of a region answers."""
        used = self._cores(location)
        limit = self._settings.regional_cores
        counts = {"virtualMachines": used["machines"], "virtualMachineScaleSets": self._sets(location)}
        rows = [(name, title, counts.get(name, 0), most) for name, (title, most) in _COUNTS.items()]
        rows.append((REGIONAL, "Total Regional vCPUs", used[REGIONAL], limit))
        rows.append((SPOT, "Total Regional Low-priority vCPUs", used[SPOT], self._settings.spot_cores))
        families = {size.family for size in SIZES.values()}
        rows += [(family, _family_title(family), used[family], limit) for family in sorted(families)]
        return {
            "value": [
                {
                    "unit": "Count",
                    "currentValue": current,
                    "limit": most,
                    "name": {"value": name, "localizedValue": title},
                }
                for name, title, current, most in rows
            ]
        }

    def _cores(self, location: str) -> Counter[str]:
        used: Counter[str] = Counter()
        for machine in self._counted():
            size = SIZES.get(str(machine.properties.get("hardwareProfile", {}).get("vmSize")).lower())
            if machine.body.get("location") != location or size is None:
                continue
            used["machines"] += 1
            if machine.internal.get("spot"):
                used[SPOT] += size.vcpus
            else:
                used[REGIONAL] += size.vcpus
                used[size.family] += size.vcpus
        return used

    def _counted(self) -> Iterator[Resource]:
        for name in _MACHINES:
            for machine in self._store.find(name):
                spot = machine.internal.get("spot")
                off = machine.internal.get("power") == Power.DEALLOCATED and not spot
                failed = (machine.internal.get("error") or {}).get("code") in ALLOCATION_CODES
                if machine.state != "Deleting" and not off and not failed and "mirrors" not in machine.internal:
                    yield machine

    def _sets(self, location: str) -> int:
        return sum(found.body.get("location") == location for found in self._store.find(_SETS))


def exceeded(location: str, title: str, limit: int, used: int, required: int) -> ArmError:
    """Return Azure's refusal of more cores than a quota allows."""
    message = (
        f"Operation could not be completed as it results in exceeding approved {title} quota. Additional details -"
        f" Deployment Model: Resource Manager, Location: {location}, Current Limit: {limit}, Current Usage: {used},"
        f" Additional Required: {required}, (Minimum) New Limit Required: {used + required}. Setup Alerts when Quota"
        " reaches threshold. Submit a request for Quota increase by specifying parameters listed in the 'Details'"
        " section for deployment to succeed. Please read more about quota limits at"
        " https://docs.microsoft.com/en-us/azure/azure-supportability/regional-quota-requests"
    )
    return conflict("OperationNotAllowed", message)


def _family_title(family: str) -> str:
    name = family.removeprefix("standard").removeprefix("Standard").removesuffix("Family").strip()
    return f"Standard {name} Family vCPUs"
