"""`LeaderLease` by the lease of a blob, whose content says which store the deployment belongs to."""

import json

from azure.core.credentials import TokenCredential
from azure.storage.blob import BlobLeaseClient, BlobServiceClient

from node_bootstrap.protocol import SCHEDULER
from scheduler.adapters.azure_errors import translated
from scheduler.adapters.azure_storage import STORAGE_OPTIONS
from scheduler.errors import ConflictError, NotFoundError
from scheduler.settings import LEADER_BLOB

# Leases last 15 to 60 s by the service's rule. Renewed at a third, 30 s outlives two lost renewals and a slow step, and
# hands over soon after a crash; a shorter one would cost an idle scheduler its budget of requests.
_LEASE_SECONDS = 30


class BlobLeaderLease:
    """A lease on the leader blob of a deployment. One thread calls it."""

    def __init__(self, credential: TokenCredential, blob_endpoint: str, duration_seconds: int = _LEASE_SECONDS) -> None:
        self._service = BlobServiceClient(blob_endpoint, credential, **STORAGE_OPTIONS)
        self._blob = self._service.get_blob_client(SCHEDULER, LEADER_BLOB)
        self._duration = duration_seconds
        self._lease: BlobLeaseClient | None = None
        self._claimed: str | None = None

    def close(self) -> None:
        """Close the connections; the lease, if held, runs out by itself."""
        self._service.close()

    def hold(self, store_id: str) -> bool:
        """Acquire or renew, and say whether this process leads now; a lease that was lost says no once."""
        if self._lease is not None:
            return self._renew(self._lease)
        if self._claimed != store_id:
            self._claim(store_id)
            self._claimed = store_id
        lease = BlobLeaseClient(self._blob)
        try:
            with translated(f"leasing blob {SCHEDULER}/{LEADER_BLOB}"):
                lease.acquire(lease_duration=self._duration)
        except ConflictError:
            return False
        except NotFoundError:  # the deployment was made anew: it is claimed again
            self._claimed = None
            return False
        self._lease = lease
        return True

    def release(self) -> None:
        """Give the lease up, if held."""
        lease, self._lease = self._lease, None
        if lease is None:
            return
        try:
            with translated(f"releasing blob {SCHEDULER}/{LEADER_BLOB}"):
                lease.release()
        except (ConflictError, NotFoundError):  # lost already
            return

    def _renew(self, lease: BlobLeaseClient) -> bool:
        try:
            with translated(f"renewing the lease of blob {SCHEDULER}/{LEADER_BLOB}"):
                lease.renew()
        except (ConflictError, NotFoundError):
            self._lease, self._claimed = None, None
            return False
        return True

    def _claim(self, store_id: str) -> None:
        """Write the store's id where there is none; refuse another store's."""
        try:
            owner = self._owner()
        except NotFoundError:
            try:
                with translated(f"writing blob {SCHEDULER}/{LEADER_BLOB}"):
                    # Not overwriting: If-None-Match, so that of two stores one wins.
                    self._blob.upload_blob(json.dumps({"store_id": store_id}).encode(), overwrite=False)
            except ConflictError:
                pass
            owner = self._owner()
        if owner != store_id:
            raise ConflictError(
                f"this deployment belongs to the store {owner}, not {store_id}; start the scheduler with that store, "
                f"or, if it is lost for good, delete the blob {SCHEDULER}/{LEADER_BLOB}"
            )

    def _owner(self) -> str:
        with translated(f"reading blob {SCHEDULER}/{LEADER_BLOB}"):
            content = self._blob.download_blob().readall()
        try:
            return str(json.loads(content)["store_id"])
        except (ValueError, KeyError, TypeError) as error:
            raise ConflictError(
                f"the blob {SCHEDULER}/{LEADER_BLOB} cannot be understood ({error}); delete it if no scheduler runs"
            ) from error
