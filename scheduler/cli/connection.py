"""How a command reaches the scheduler and the storage."""

import os

from azure.identity import DefaultAzureCredential

from scheduler.adapters.azure_storage import AzureBlobs
from scheduler.api.client import TIMEOUT_SECONDS, HttpJobService
from scheduler.cli.home import StackFolder
from scheduler.errors import InvalidRequestError, UnavailableError
from scheduler.ports.job_service import JobService
from scheduler.ports.storage import Blobs

# Of a scheduler that runs elsewhere, behind a tunnel to its loopback port: they come before what was started here.
URL_VARIABLE = "MILLPOND_API_URL"
TOKEN_VARIABLE = "MILLPOND_API_TOKEN"  # noqa: S105 - the name of a variable


def scheduler_of(stack: str, timeout_seconds: float = TIMEOUT_SECONDS) -> HttpJobService:
    """Give the running scheduler of a stack; `UnavailableError` when none was started here and none is named."""
    url, token = os.environ.get(URL_VARIABLE), os.environ.get(TOKEN_VARIABLE)
    if url and not token:
        raise InvalidRequestError(f"{URL_VARIABLE} is set without {TOKEN_VARIABLE}; the host's api.json has both")
    if url and token:
        return HttpJobService(url, token, timeout_seconds)
    address = StackFolder(stack).api_address()
    if address is None:
        raise UnavailableError(
            f"no scheduler of the stack {stack!r} runs here; start it with `millpond scheduler run --stack {stack}`"
        )
    return HttpJobService(address.url, address.token, timeout_seconds)


def storage_of(service: JobService) -> Blobs:
    """Give the storage that the scheduler's files lie in, with the caller's own Entra identity."""
    return AzureBlobs(DefaultAzureCredential(), service.storage().blob_endpoint)
