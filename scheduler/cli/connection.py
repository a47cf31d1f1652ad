"""How a command reaches the scheduler and the storage."""

from azure.identity import DefaultAzureCredential

from scheduler.adapters.azure_storage import AzureBlobs
from scheduler.api.client import HttpJobService
from scheduler.cli.home import StackFolder
from scheduler.errors import UnavailableError
from scheduler.ports.job_service import JobService
from scheduler.ports.storage import Blobs


def scheduler_of(stack: str) -> HttpJobService:
    """Give the running scheduler of a stack; `UnavailableError` when none was started here."""
    address = StackFolder(stack).api_address()
    if address is None:
        raise UnavailableError(
            f"no scheduler of the stack {stack!r} runs here; start it with `millpond scheduler run --stack {stack}`"
        )
    return HttpJobService(address.url, address.token)


def storage_of(service: JobService) -> Blobs:
    """Give the storage that the scheduler's files lie in, with the caller's own Entra identity."""
    return AzureBlobs(DefaultAzureCredential(), service.storage().blob_endpoint)
