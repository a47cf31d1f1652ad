"""Where an account is: its endpoints by kind, and its second region where the redundancy has one."""

from typing import Any

from infra.local.arm.regions import REGIONS

Json = dict[str, Any]

# Services that an account of a kind has (docs: storage account overview, endpoints). Blobs, queues and tables run here;
# the others are named as Azure names them, so that clients can read an account, and nothing answers there.
_SERVICES = {
    "Storage": ("blob", "queue", "table", "file"),
    "StorageV2": ("dfs", "web", "blob", "queue", "table", "file"),
    "BlobStorage": ("dfs", "blob", "table"),
    "BlockBlobStorage": ("dfs", "web", "blob"),
    "FileStorage": ("file",),
}
_PAIRED_REGION = -1


def locations(body: Json) -> Json:
    """Return the properties that say where an account is; nothing until it is somewhere."""
    running: dict[str, str] = body["properties"].get("primaryEndpoints") or {}
    if not running:
        return {}
    named = _SERVICES.get(body["kind"], ())
    primary = {service: running.get(service) or _unserved(running["blob"], service) for service in named}
    shown: Json = {"primaryEndpoints": primary}
    redundancy = str(body["sku"]["name"]).partition("_")[2]
    region = REGIONS.get(body["location"])
    if redundancy in {"GRS", "GZRS", "RAGRS", "RAGZRS"} and region is not None:
        shown |= {"secondaryLocation": region[_PAIRED_REGION], "statusOfSecondary": "available"}
    if redundancy.startswith("RA") and region is not None:
        # The server answers for the copy under the account's name with this ending. Files have no copy to read.
        copies = {service: f"{address.rstrip('/')}-secondary/" for service, address in primary.items()}
        shown["secondaryEndpoints"] = {service: address for service, address in copies.items() if service != "file"}
    return shown


def _unserved(blob_endpoint: str, service: str) -> str:
    return f"{blob_endpoint.rstrip('/')}-{service}/"
