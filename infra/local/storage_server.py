"""The server of a storage account: one Azurite a process, because its accounts are in its environment."""

import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infra.local.certificates import Certificates
from infra.local.layout import FOLDER_MARK, Layout, LocalAzureError
from infra.local.ports import free_ports
from infra.local.processes import Environment, disown, marked, terminate

_ACCOUNT_MARK = "MILLPOND_STORAGE_ACCOUNT"
_START_SECONDS = 60.0
# It writes its collections out on SIGTERM; killed, it loses the last five seconds.
_STOP_SECONDS = 15.0
_SERVICES = ("blob", "queue", "table")


@dataclass(frozen=True, slots=True)
class Account:
    """Where the server of an account is, and its key."""

    name: str
    key: str
    ports: tuple[int, ...]

    @property
    def endpoints(self) -> dict[str, str]:
        """The address of each service, with a slash at the end."""
        return {
            service: f"https://127.0.0.1:{port}/{self.name}/"
            for service, port in zip(_SERVICES, self.ports, strict=True)
        }


class StorageServers:
    """Starts and stops the servers; one that outlived the daemon is taken over."""

    def __init__(self, layout: Layout, certificates: Certificates, command: Callable[[], list[str]]) -> None:
        self._layout = layout
        self._certificates = certificates
        self._command = command
        self._lock = threading.Lock()
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def ca_bundle(self) -> Path:
        """What a client of these servers has to trust."""
        return self._certificates.bundle

    def account(self, name: str, key: str, ports: list[int]) -> Account:
        """Describe an account that has been started."""
        return Account(name, key, tuple(ports))

    def start(self, name: str, key: str, ports: list[int] | None) -> Account:
        """Start the server of an account, on its old ports if they are free, and wait until it answers."""
        with self._lock:
            if ports and marked(self._matches(name)):
                return Account(name, key, tuple(ports))
            account = Account(name, key, free_ports(ports or [0] * len(_SERVICES)))
            self._children[name] = self._spawn(account)
        self._await(account, self._children[name])
        return account

    def stop(self, name: str) -> None:
        """Stop the server of an account; it writes everything out first."""
        with self._lock:
            terminate(self._matches(name), _STOP_SECONDS)
            child = self._children.pop(name, None)
            if child is not None:
                child.wait()

    def leave_running(self) -> None:
        """Give the servers up to the system, as this process is about to end."""
        disown(self._children)

    def delete(self, name: str) -> None:
        """Stop the server and remove what it held."""
        self.stop(name)
        shutil.rmtree(self._layout.storage / name, ignore_errors=True)

    def _matches(self, name: str) -> Callable[[Environment], bool]:
        local = str(self._layout.local)
        return lambda environment: environment.get(_ACCOUNT_MARK) == name and environment.get(FOLDER_MARK) == local

    def _spawn(self, account: Account) -> subprocess.Popen[bytes]:
        folder = self._layout.storage / account.name
        folder.mkdir(parents=True, exist_ok=True)
        command = [*self._command(), "--location", str(folder / "data"), "--silent", "--disableTelemetry"]
        command += ["--skipApiVersionCheck", "--oauth", "basic"]
        command += ["--cert", str(self._certificates.certificate), "--key", str(self._certificates.key)]
        for service, port in zip(_SERVICES, account.ports, strict=True):
            command += [f"--{service}Host", "127.0.0.1", f"--{service}Port", str(port)]
        environment = os.environ | {
            "AZURITE_ACCOUNTS": f"{account.name}:{account.key}",
            _ACCOUNT_MARK: account.name,
            FOLDER_MARK: str(self._layout.local),
        }
        with (folder / "server.log").open("ab") as log:
            return subprocess.Popen(
                command,
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _await(self, account: Account, child: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        context = ssl.create_default_context(cafile=str(self._certificates.authority))
        for port in account.ports:
            while not _answers(port, context):
                log = self._layout.storage / account.name / "server.log"
                if child.poll() is not None:
                    raise LocalAzureError(f"the storage server of '{account.name}' ended at its start; see {log}")
                if time.monotonic() > deadline:
                    raise LocalAzureError(f"the storage server of '{account.name}' does not answer; see {log}")
                time.sleep(0.05)


def _answers(port: int, context: ssl.SSLContext) -> bool:
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=1.0) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1"),
        ):
            return True
    except OSError:
        return False
