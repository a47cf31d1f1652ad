"""Regions and api-versions that the local Azure tells of; it serves any region and any well-formed version."""

from typing import Any

Json = dict[str, Any]

# name: display name, geography, its group, longitude, latitude, physical location, paired region
# (docs: "Azure regions list", 2026-11).
REGIONS: dict[str, tuple[str, str, str, str, str, str, str]] = {
    "eastus": ("East US", "United States", "US", "-79.8164", "37.3719", "Virginia", "westus"),
    "eastus2": ("East US 2", "United States", "US", "-78.3889", "36.6681", "Virginia", "centralus"),
    "centralus": ("Central US", "United States", "US", "-93.6208", "41.5908", "Iowa", "eastus2"),
    "southcentralus": ("South Central US", "United States", "US", "-98.5", "29.4167", "Texas", "northcentralus"),
    "westus": ("West US", "United States", "US", "-122.417", "37.783", "California", "eastus"),
    "westus2": ("West US 2", "United States", "US", "-119.852", "47.233", "Washington", "westcentralus"),
    "westus3": ("West US 3", "United States", "US", "-112.074036", "33.448376", "Phoenix", "eastus"),
    "northeurope": ("North Europe", "Europe", "Europe", "-6.2597", "53.3478", "Ireland", "westeurope"),
    "westeurope": ("West Europe", "Europe", "Europe", "4.9", "52.3667", "Netherlands", "northeurope"),
    "uksouth": ("UK South", "United Kingdom", "UK", "-0.799", "50.941", "London", "ukwest"),
    "francecentral": ("France Central", "France", "Europe", "2.373", "46.3772", "Paris", "francesouth"),
    "germanywestcentral": ("Germany West Central", "Germany", "Europe", "8.682127", "50.110924", "Frankfurt",
                           "germanynorth"),
    "switzerlandnorth": ("Switzerland North", "Switzerland", "Europe", "8.564572", "47.451542", "Zurich",
                         "switzerlandwest"),
    "swedencentral": ("Sweden Central", "Sweden", "Europe", "17.14127", "60.67488", "Gävle", "swedensouth"),
    "australiaeast": ("Australia East", "Australia", "Asia Pacific", "151.2094", "-33.86", "New South Wales",
                      "australiasoutheast"),
    "japaneast": ("Japan East", "Japan", "Asia Pacific", "139.77", "35.68", "Tokyo, Saitama", "japanwest"),
    "southeastasia": ("Southeast Asia", "Asia Pacific", "Asia Pacific", "103.833", "1.283", "Singapore", "eastasia"),
}  # fmt: skip
# Without zones of their own (the same list).
_WITHOUT_ZONES = frozenset({"westus"})

# The versions that today's clients ask with, newest first (the SDKs for Python, Go and JS, azure-cli, azure-native).
_VERSIONS = {
    "microsoft.authorization": ("2022-05-01-preview", "2022-04-01", "2018-01-01-preview"),
    "microsoft.batch": ("2025-06-01", "2024-07-01", "2024-02-01", "2023-11-01"),
    "microsoft.compute": (
        "2026-04-01", "2026-03-01", "2025-04-01", "2025-01-02", "2024-11-01", "2024-07-01", "2024-03-02", "2023-09-01",
    ),
    "microsoft.managedidentity": ("2024-11-30", "2023-01-31", "2018-11-30"),
    "microsoft.network": ("2026-03-01", "2025-07-01", "2024-05-01", "2024-03-01", "2022-01-01"),
    "microsoft.storage": ("2026-09-01", "2025-08-01", "2024-01-01", "2023-05-01"),
}  # fmt: skip
_PRIVATE_DNS = ("2024-06-01", "2020-06-01", "2018-09-01")
_RESOURCES = ("2025-04-01", "2024-11-01", "2024-03-01", "2022-12-01", "2021-04-01")


def api_versions(namespace: str, kind: str) -> list[str]:
    """Return versions of a type, newest first."""
    if kind.lower().startswith("privatednszones"):
        return list(_PRIVATE_DNS)
    return list(_VERSIONS.get(namespace.lower(), _RESOURCES))


def display_names() -> list[str]:
    """Return the regions as providers list them."""
    return [region[0] for region in REGIONS.values()]


def location(subscription_id: str, name: str) -> Json:
    """Describe a region to a subscription."""
    display, geography, group, longitude, latitude, place, pair = REGIONS[name]
    described: dict[str, Any] = {
        "id": f"/subscriptions/{subscription_id}/locations/{name}",
        "name": name,
        "type": "Region",
        "displayName": display,
        "regionalDisplayName": f"({group}) {display}",
        "metadata": {
            "regionType": "Physical",
            "regionCategory": "Recommended",
            "geography": geography,
            "geographyGroup": group,
            "longitude": longitude,
            "latitude": latitude,
            "physicalLocation": place,
            "pairedRegion": [{"name": pair, "id": f"/subscriptions/{subscription_id}/locations/{pair}"}],
        },
    }
    if name not in _WITHOUT_ZONES:
        described["availabilityZoneMappings"] = [
            {"logicalZone": zone, "physicalZone": f"{name}-az{zone}"} for zone in "123"
        ]
    return described
