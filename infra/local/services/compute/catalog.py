"""What compute answers about the whole subscription: sizes, usages, and the marketplace's images."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from infra.local.arm.errors import ArmError, invalid
from infra.local.arm.regions import REGIONS, location
from infra.local.arm.subscription import SubscriptionRoute
from infra.local.services.compute.platform_images import PLATFORM_IMAGES, PlatformImage
from infra.local.services.compute.quotas import Quotas
from infra.local.services.compute.vm_sizes import SIZES, describe, describe_sku

Json = dict[str, Any]
Names = Mapping[str, str]
Query = Mapping[str, str]

_COMPUTE = "/subscriptions/{subscription}/providers/Microsoft.Compute"
_IMAGES = _COMPUTE + "/locations/{location}/publishers"
_LOCATION_FILTER = re.compile(r"\s*location\s+eq\s+'(?P<location>[^']*)'\s*", re.IGNORECASE)


class ComputeCatalog:
    """The answers, as routes of the subscription; every region has the same."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas

    def routes(self) -> tuple[SubscriptionRoute, ...]:
        """Return the routes."""
        offers = _IMAGES + "/{publisher}/artifacttypes/vmimage/offers"
        skus = offers + "/{offer}/skus"
        versions = skus + "/{sku}/versions"
        return (
            SubscriptionRoute("GET", _COMPUTE + "/skus", self._skus),
            SubscriptionRoute("GET", _COMPUTE + "/locations/{location}/vmSizes", self._sizes),
            SubscriptionRoute("GET", _COMPUTE + "/locations/{location}/usages", self._usages),
            SubscriptionRoute("GET", _IMAGES, self._publishers),
            SubscriptionRoute("GET", offers, self._offers),
            SubscriptionRoute("GET", skus, self._image_skus),
            SubscriptionRoute("GET", versions, self._versions),
            SubscriptionRoute("GET", versions + "/{version}", self._version),
        )

    def _skus(self, names: Names, query: Query, _body: Json) -> Json:
        wanted = query.get("$filter", "").strip()
        locations = list(REGIONS)
        if wanted:
            found = _LOCATION_FILTER.fullmatch(wanted)
            if found is None:
                raise invalid(f"The filter '{wanted}' is not supported; say location eq 'name'.", "$filter")
            locations = [_plain(found["location"])]
        sizes = sorted(SIZES.values(), key=lambda size: size.name)
        zones = {name: _zones(names["subscription"], name) for name in locations}
        return {"value": [describe_sku(size, name, zones[name]) for name in locations for size in sizes]}

    def _sizes(self, _names: Names, _query: Query, _body: Json) -> Json:
        return {"value": [describe(size) for size in sorted(SIZES.values(), key=lambda size: size.name)]}

    def _usages(self, names: Names, _query: Query, _body: Json) -> Json:
        return self._quotas.usages(_plain(names["location"]))

    def _publishers(self, names: Names, _query: Query, _body: Json) -> Any:
        return self._listed(names, sorted({image.publisher for image in PLATFORM_IMAGES.values()}), "")

    def _offers(self, names: Names, _query: Query, _body: Json) -> Any:
        found = _of(names, "publisher")
        path = f"/{names['publisher']}/ArtifactTypes/VMImage/Offers"
        return self._listed(names, sorted({image.offer for image in found}), path)

    def _image_skus(self, names: Names, _query: Query, _body: Json) -> Any:
        found = _of(names, "publisher", "offer")
        path = f"/{names['publisher']}/ArtifactTypes/VMImage/Offers/{names['offer']}/Skus"
        return self._listed(names, sorted({image.sku for image in found}), path)

    def _versions(self, names: Names, query: Query, _body: Json) -> Any:
        (image,) = _of(names, "publisher", "offer", "sku")
        versions = list(image.versions)
        if query.get("$orderby", "").lower().startswith("name desc"):
            versions.reverse()
        versions = versions[: int(query.get("$top") or len(versions))]
        listed = self._listed(names, versions, _version_path(names))
        if "properties" in query.get("$expand", "").lower():
            for entry in listed:
                entry["properties"] = _properties(image)
        return listed

    def _version(self, names: Names, _query: Query, _body: Json) -> Json:
        (image,) = _of(names, "publisher", "offer", "sku")
        version = image.versions[-1] if names["version"].lower() == "latest" else names["version"]
        if version not in image.versions:
            raise _unknown(f"Artifact: VMImage, Version: {version} was not found.")
        (entry,) = self._listed(names, [version], _version_path(names))
        return entry | {"properties": _properties(image)}

    def _listed(self, names: Names, members: list[str], path: str) -> list[Json]:
        """Describe parts of the catalogue of images: a bare list, as the service answers."""
        place = _plain(names["location"])
        base = f"/Subscriptions/{names['subscription']}/Providers/Microsoft.Compute/Locations/{place}/Publishers"
        return [{"location": place, "name": name, "id": f"{base}{path}/{name}"} for name in members]


def _of(names: Names, *parts: str) -> list[PlatformImage]:
    """Return the images of a publisher, an offer or a SKU; there must be one."""
    found = [
        image
        for image in PLATFORM_IMAGES.values()
        if all(getattr(image, part).lower() == names[part].lower() for part in parts)
    ]
    if not found:
        named = ", ".join(f"{part.capitalize()}: {names[part]}" for part in parts)
        raise _unknown(f"Artifact: VMImage was not found ({named}).")
    return found


def _version_path(names: Names) -> str:
    return f"/{names['publisher']}/ArtifactTypes/VMImage/Offers/{names['offer']}/Skus/{names['sku']}/Versions"


def _properties(image: PlatformImage) -> Json:
    return {
        "hyperVGeneration": image.generation,
        "architecture": "x64",
        "osDiskImage": {
            "operatingSystem": "Windows" if image.windows else "Linux",
            "sizeInGb": 127 if image.windows else 30,
        },
        "dataDiskImages": [],
        "automaticOSUpgradeProperties": {"automaticOSUpgradeSupported": True},
        "features": [{"name": "IsAcceleratedNetworkSupported", "value": "True"}],
    }


def _zones(subscription_id: str, name: str) -> list[str]:
    mappings = location(subscription_id, name).get("availabilityZoneMappings", []) if name in REGIONS else []
    return [zone["logicalZone"] for zone in mappings]


def _plain(location: str) -> str:
    return location.replace(" ", "").lower()


def _unknown(message: str) -> ArmError:
    return ArmError(HTTPStatus.NOT_FOUND, "NotFound", message)
