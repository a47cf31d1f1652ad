"""The background process of the local Azure: `python -m infra.local.daemon --home DIR`.

It serves until SIGTERM. Killed in any other way it leaves machines and storage running, and its next start finds
everything as it was.
"""

import argparse
import asyncio
import logging
import os
import signal
import sqlite3
import sys
import time
from pathlib import Path
from typing import NoReturn

from infra.local import toolchain
from infra.local.azure import LocalAzure
from infra.local.language import host as language_host
from infra.local.layout import FOLDER_MARK, Layout, LocalAzureError, RunningState, write_state
from infra.local.lock import hold
from infra.local.processes import of_storage, terminate
from infra.local.provider import server as provider
from infra.local.services.compute.settings import DEFAULTS, ComputeSettings
from infra.local.start_failures import MESSAGE_MARK, explain

_STORAGE_STOP_SECONDS = 15.0  # it writes everything out first

_log = logging.getLogger(__name__)

TOLD = 3  # the exit code when the last lines of the log are a message for the user


def main() -> None:
    """Run the daemon."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--boot-delay", type=float, default=DEFAULTS.boot_delay_seconds)
    parser.add_argument("--cores", type=int, default=DEFAULTS.regional_cores)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("azure", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    layout = Layout(options.home.resolve())
    if os.environ.get(FOLDER_MARK) != str(layout.local):
        # Begin again with the mark by which `down` finds this process and what it starts.
        command = [sys.executable, "-m", "infra.local.daemon", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | {FOLDER_MARK: str(layout.local)})  # noqa: S606 -- no shell wanted
    try:
        with hold(layout):
            asyncio.run(_serve(layout, ComputeSettings(options.boot_delay, options.cores)))
    except LocalAzureError as error:
        _tell(str(error))
    except (OSError, sqlite3.Error) as error:
        _log.exception("The daemon failed")
        _tell(explain(error, layout))


def _tell(message: str) -> NoReturn:
    sys.stderr.write(f"{MESSAGE_MARK}{message}\n")
    sys.exit(TOLD)


async def _serve(layout: Layout, compute: ComputeSettings) -> None:
    azure = LocalAzure(layout, compute, toolchain.azurite_command)
    if azure.certificates.renewed:
        # Storage that outlived the last daemon still shows the old one.
        terminate(of_storage(layout.local), _STORAGE_STOP_SECONDS)
        azure.notes.append(
            "The certificate was damaged or near its end, and is new: programs that run have to start again"
        )
    plugins, provider_port = provider.start(
        azure.arm_url,
        azure.token,
        azure.certificates.bundle,
        subscription_id=azure.account.subscription_id,
        port=azure.wanted_port("provider"),
    )
    languages, language_port = language_host.start(azure.wanted_port("language"))
    azure.keep_port("provider", provider_port)
    azure.keep_port("language", language_port)

    def ready() -> None:
        state = RunningState(
            pid=os.getpid(),
            started=time.time(),
            boot_delay_seconds=compute.boot_delay_seconds,
            arm_url=azure.arm_url,
            metadata_host=azure.arm_url.removeprefix("https://"),
            identity_endpoint=f"{azure.metadata_url}/msi/token",
            identity_header=azure.account.identity_header,
            provider_port=provider_port,
            language_port=language_port,
            ca_file=str(azure.certificates.bundle),
            subscription_id=azure.account.subscription_id,
            tenant_id=azure.account.tenant_id,
            metadata_url=azure.metadata_url,
            client_id=azure.account.deployer.client_id,
            notes=tuple(azure.notes),
        )
        write_state(layout, state)

    loop = asyncio.get_running_loop()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(wanted, azure.stop)
    try:
        await azure.serve(ready)
    finally:
        layout.state_file.unlink(missing_ok=True)
        for server in (plugins, languages):
            server.stop(1.0).wait()  # type: ignore[no-untyped-call]  # grpc ships no types


if __name__ == "__main__":
    main()
