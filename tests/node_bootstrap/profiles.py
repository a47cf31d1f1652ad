"""Profiles that the tests here render."""

from node_bootstrap.render import HostProfile, NodeProfile

SAMPLE = NodeProfile(
    pool="risk",
    group="d2sv5",
    generation="0123abcd",
    blob_endpoint="https://millpondsample.blob.core.windows.net/",
    queue_endpoint="https://millpondsample.queue.core.windows.net/",
    work_queue="risk-d2sv5-0123abcd",
    events_queue="events",
    identity_client_id="11111111-2222-3333-4444-555555555555",
    task_slots=2,
    bundle_sha256="ab" * 32,
    status_interval_seconds=10.0,
    python_sha256="cd" * 32,
)

HOST = HostProfile(
    stack="dev",
    blob_endpoint="https://millpondsample.blob.core.windows.net/",
    queue_endpoint="https://millpondsample.queue.core.windows.net/",
    settings_url="https://millpondsample.blob.core.windows.net/scheduler/settings.json",
    identity_client_id=SAMPLE.identity_client_id,
    bundle_sha256="ef" * 32,
    interval_seconds=1.0,
    port=8471,
    administrator="millpond-admin",
    ssh_public_key=None,
)
