"""Applications of Batch accounts and their packages: a package is a blob in the account's own storage account."""

import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from azure.storage.blob import BlobClient, BlobSasPermissions, generate_blob_sas

from infra.local.arm.addresses import parse
from infra.local.arm.errors import ArmError, conflict, invalid
from infra.local.arm.manager import Conditions, ResourceManager
from infra.local.arm.resource_types import Call, Query, Reply, ResourceType, Write
from infra.local.arm.store import Resource, Store
from infra.local.services.batch.accounts import ACCOUNT
from infra.local.services.batch.nodes import now

APPLICATION = f"{ACCOUNT}/applications"
PACKAGE = f"{APPLICATION}/versions"

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_VERSION = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_LINK_LIFE = timedelta(hours=4)
_LONGEST_CONTAINER_PART = 24


class BatchApplications:
    """The types of applications and packages; `manager` makes containers, `ca_bundle` is trusted in reaching them."""

    def __init__(self, store: Store, manager: Callable[[], ResourceManager], ca_bundle: str) -> None:
        self._store = store
        self._manager = manager
        self._ca_bundle = ca_bundle

    def types(self) -> tuple[ResourceType, ...]:
        """Return the types."""
        return (
            ResourceType(
                APPLICATION,
                prepare=self._prepare_application,
                leave=self._leave_application,
                created=HTTPStatus.OK,
                tracked=False,
                shows_etag=True,
                has_state=False,
            ),
            ResourceType(
                PACKAGE,
                prepare=self._prepare_package,
                provision=self._make_container,
                leave=self._leave_package,
                view=self._view,
                actions={"activate": self._activate},
                created=HTTPStatus.OK,
                tracked=False,
                shows_etag=True,
                has_state=False,
            ),
        )

    def _prepare_application(self, write: Write) -> None:
        if _NAME.fullmatch(write.address.name) is None:
            message = "An application's name has 1 to 64 letters, digits, hyphens and underscores."
            raise invalid(message, "applicationName", "InvalidPropertyValue")
        properties = write.resource.properties
        properties.setdefault("allowUpdates", True)
        version = properties.get("defaultVersion")
        if version is not None and self._store.get(f"{write.resource.id}/versions/{version}") is None:
            message = f"The default version '{version}' of application '{write.address.name}' does not exist."
            raise conflict("ApplicationPackageNotFound", message, "defaultVersion")

    def _leave_application(self, application: Resource) -> None:
        if self._store.find(PACKAGE, application.id):
            message = f"The application '{application.name}' has packages; delete them first."
            raise conflict("ApplicationPackagesExist", message)

    def _prepare_package(self, write: Write) -> None:
        if _VERSION.fullmatch(write.address.name) is None:
            message = "A version has 1 to 64 letters, digits, hyphens, underscores and dots."
            raise invalid(message, "versionName", "InvalidPropertyValue")
        application = self._store.get(str(write.address.parent))
        if write.before is not None and application is not None and not application.properties["allowUpdates"]:
            message = f"Packages of the application '{application.name}' may not be replaced (allowUpdates)."
            raise conflict("ApplicationPackageUpdateNotAllowed", message)
        self._storage_of(write.resource)
        write.resource.properties["state"] = "Pending"
        write.resource.properties.pop("lastActivationTime", None)

    def _make_container(self, package: Resource, _payload: dict[str, Any]) -> None:
        storage = self._storage_of(package)
        identifier = f"{storage.id}/blobServices/default/containers/{_container(package)}"
        if self._store.get(identifier) is None:
            self._manager().write(parse(identifier), {}, Conditions(), patch=False)

    def _leave_package(self, package: Resource) -> None:
        application = self._store.get(package.id.rsplit("/", 2)[0])
        if application is not None and application.properties.get("defaultVersion") == package.name:
            message = (
                f"The version '{package.name}' is the default version of '{application.name}'; name another first."
            )
            raise conflict("ApplicationPackageIsDefault", message)

    def _activate(self, call: Call) -> Reply:
        kind = call.body.get("format")
        if kind != "zip":
            raise invalid(f"The format of a package is zip, not '{kind}'.", "format", "InvalidPropertyValue")
        package = call.resource
        url = self._link(package)["storageUrl"]
        with BlobClient.from_blob_url(url, connection_verify=self._ca_bundle) as blob:
            if not blob.exists():
                message = f"Nothing was uploaded to the storage URL of version '{package.name}' yet."
                raise conflict("ApplicationPackageBlobNotFound", message)
        package.properties.update(state="Active", format=kind, lastActivationTime=now())
        self._store.save(package)
        header = {"id": package.id, "name": package.name, "type": PACKAGE, "etag": package.etag}
        return Reply(header | self._view(package, {}))

    def _view(self, package: Resource, _query: Query) -> dict[str, Any]:
        try:
            link = self._link(package)
        except ArmError:
            link = {}  # the storage account was unlinked since: the package is still there to be seen
        return package.body | {"properties": package.properties | link}

    def _link(self, package: Resource) -> dict[str, str]:
        """Make an address at which a package can be put and got for a while."""
        storage = self._storage_of(package)
        application = package.id.split("/")[-3]
        container, name = _container(package), f"{application}-{package.name}"
        expiry = datetime.now(UTC) + _LINK_LIFE
        signature = generate_blob_sas(
            storage.name,
            container,
            name,
            account_key=storage.internal["keys"][0],
            permission=BlobSasPermissions(read=True, create=True, write=True),
            expiry=expiry,
        )
        endpoint = storage.properties["primaryEndpoints"]["blob"]
        return {
            "storageUrl": f"{endpoint}{container}/{name}?{signature}",
            "storageUrlExpiry": expiry.isoformat().replace("+00:00", "Z"),
        }

    def _storage_of(self, package: Resource) -> Resource:
        account = self._store.get("/".join(package.id.split("/")[:9]))
        linked = (account.properties.get("autoStorage") or {}) if account is not None else {}
        storage = self._store.get(linked.get("storageAccountId", ""))
        if storage is None or not storage.properties.get("primaryEndpoints"):
            message = (
                "Application packages need an auto storage account, and this Batch account has none that is ready."
            )
            raise conflict("AutoStorageAccountNotLinked", message)
        return storage


def _container(package: Resource) -> str:
    """Name the container of an application's packages: a part people can read, and one that is unique."""
    application = package.id.split("/")[-3].lower()
    readable = re.sub(r"[^a-z0-9]+", "-", application).strip("-")[:_LONGEST_CONTAINER_PART].strip("-")
    unique = hashlib.sha256(package.id.lower().rsplit("/", 2)[0].encode()).hexdigest()[:12]
    return f"app-{readable or 'x'}-{unique}"
