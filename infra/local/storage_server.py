"""The server of a storage account: one Azurite a process, because its accounts are in its environment.

It is started with a guard of ours (azurite/guard.js), which lets requests pass by role. One that ends alone is started
again on its ports.
"""

import logging
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from infra.local.certificates import Certificates
from infra.local.layout import FOLDER_MARK, Layout, LocalAzureError
from infra.local.ports import free_ports
from infra.local.processes import STORAGE_MARK, Environment, disown, marked, terminate

GUARD = Path(__file__).parent / "azurite" / "guard.js"

_START_SECONDS = 60.0
# It writes its collections out on SIGTERM; killed, it loses the last five seconds.
_STOP_SECONDS = 15.0
_LOOK_AGAIN_SECONDS = 0.5
_SERVICES = ("blob", "queue", "table")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Account:
    """Where the server of an account is, and its keys."""

    name: str
    keys: tuple[str, ...]
    ports: tuple[int, ...] = ()

    @property
    def endpoints(self) -> dict[str, str]:
        """The address of each service, with a slash at the end."""
        return {
            service: f"https://127.0.0.1:{port}/{self.name}/"
            for service, port in zip(_SERVICES, self.ports, strict=True)
        }


@dataclass(frozen=True, slots=True)
class ServerHealth:
    """How the server of an account is: its process, None when it has ended, and how often it was started again."""

    account: str
    pid: int | None
    ports: tuple[int, ...]
    restarts: int
    problem: str = ""


@dataclass(slots=True)
class _Server:
    account: Account
    process: psutil.Process
    restarts: int = 0
    problem: str = ""


@dataclass(slots=True)
class _Watch:
    ended: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None


class StorageServers:
    """Starts, watches and stops the servers; one that outlived the daemon is taken over."""

    def __init__(self, layout: Layout, certificates: Certificates, command: Callable[[], list[str]]) -> None:
        self._layout = layout
        self._certificates = certificates
        self._command = command
        self._lock = threading.RLock()
        self._servers: dict[str, _Server] = {}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._watch = _Watch()

    @property
    def ca_bundle(self) -> Path:
        """What a client of these servers has to trust."""
        return self._certificates.bundle

    def permissions_file(self, name: str) -> Path:
        """Name the file by which the server of an account decides."""
        return self._layout.storage / name / "permissions.json"

    def start(self, account: Account) -> Account:
        """Start the server of an account, on its old ports if they are free, and wait until it answers."""
        with self._lock:
            known = self._servers.get(account.name)
            if known is not None and _lives(known.process):
                return known.account
            found = marked(self._matches(account.name)) if account.ports else []
            if found:
                self._servers[account.name] = _Server(account, found[0][0])
                return account
            ports = free_ports(list(account.ports) or [0] * len(_SERVICES))
            placed = Account(account.name, account.keys, ports)
            child = self._spawn(placed)
        self._await(placed, child)
        return placed

    def stop(self, name: str) -> None:
        """Stop the server of an account; it writes everything out first."""
        with self._lock:
            self._servers.pop(name, None)
            terminate(self._matches(name), _STOP_SECONDS)
            child = self._children.pop(name, None)
            if child is not None:
                child.wait()

    def watch(self) -> None:
        """From now on start again what ends alone, until `leave_running`."""
        self._watch = _Watch()
        self._watch.thread = threading.Thread(target=self._keep_alive, args=(self._watch.ended,), daemon=True)
        self._watch.thread.start()

    def health(self) -> tuple[ServerHealth, ...]:
        """Say how each server is."""
        with self._lock:
            return tuple(
                ServerHealth(
                    name,
                    server.process.pid if _lives(server.process) else None,
                    server.account.ports,
                    server.restarts,
                    server.problem,
                )
                for name, server in sorted(self._servers.items())
            )

    def leave_running(self) -> None:
        """Give the servers up to the system, as this process is about to end."""
        self._watch.ended.set()
        if self._watch.thread is not None:
            self._watch.thread.join()
        with self._lock:
            self._servers.clear()
            disown(self._children)

    def delete(self, name: str) -> None:
        """Stop the server and remove what it held."""
        self.stop(name)
        shutil.rmtree(self._layout.storage / name, ignore_errors=True)

    def _keep_alive(self, ended: threading.Event) -> None:
        while not ended.wait(_LOOK_AGAIN_SECONDS):
            with self._lock:
                dead = [name for name, server in self._servers.items() if not _lives(server.process)]
                for name in dead:
                    self._start_again(name)

    def _start_again(self, name: str) -> None:
        server = self._servers[name]
        child = self._children.pop(name, None)
        code = f" with exit code {child.wait()}" if child is not None else ""
        server.problem = f"process {server.process.pid} ended{code}; see {self._layout.storage / name / 'server.log'}"
        _log.warning("The storage server of '%s' is started again: %s", name, server.problem)
        try:
            ports = server.account.ports
            if free_ports(list(ports)) != ports:
                server.problem += f"; it waits for its ports {', '.join(map(str, ports))}, one of which is taken"
                return
            self._spawn(server.account)
        except OSError as error:
            server.problem += f"; it could not be started again: {error}"
            return
        again = self._servers[name]
        again.restarts, again.problem = server.restarts + 1, server.problem

    def _matches(self, name: str) -> Callable[[Environment], bool]:
        local = str(self._layout.local)
        return lambda environment: environment.get(STORAGE_MARK) == name and environment.get(FOLDER_MARK) == local

    def _spawn(self, account: Account) -> subprocess.Popen[bytes]:
        folder = self._layout.storage / account.name
        folder.mkdir(parents=True, exist_ok=True)
        node, *script = self._command()
        command = [node, "--require", str(GUARD), *script]
        command += ["--location", str(folder / "data"), "--silent", "--disableTelemetry"]
        # The guard reads the account in the path; Azurite must not take it from a host name instead.
        command += ["--skipApiVersionCheck", "--disableProductStyleUrl", "--oauth", "basic"]
        command += ["--cert", str(self._certificates.certificate), "--key", str(self._certificates.key)]
        for service, port in zip(_SERVICES, account.ports, strict=True):
            command += [f"--{service}Host", "127.0.0.1", f"--{service}Port", str(port)]
        environment = os.environ | {
            "AZURITE_ACCOUNTS": ":".join((account.name, *account.keys)),
            "MILLPOND_STORAGE_PERMISSIONS": str(self.permissions_file(account.name)),
            "MILLPOND_STORAGE_PORTS": ",".join(map(str, account.ports)),
            STORAGE_MARK: account.name,
            FOLDER_MARK: str(self._layout.local),
        }
        with (folder / "server.log").open("ab") as log:
            child = subprocess.Popen(
                command,
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._children[account.name] = child
        self._servers[account.name] = _Server(account, psutil.Process(child.pid))
        return child

    def _await(self, account: Account, child: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        context = ssl.create_default_context(cafile=str(self._certificates.authority))
        for port in account.ports:
            while not _answers(port, context):
                log = self._layout.storage / account.name / "server.log"
                if child.poll() is not None:
                    self.stop(account.name)
                    raise LocalAzureError(f"the storage server of '{account.name}' ended at its start; see {log}")
                if time.monotonic() > deadline:
                    raise LocalAzureError(f"the storage server of '{account.name}' does not answer; see {log}")
                time.sleep(0.05)


def _lives(process: psutil.Process) -> bool:
    """Say whether a process is there and has not ended; one that nobody waited for has."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _answers(port: int, context: ssl.SSLContext) -> bool:
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=1.0) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1"),
        ):
            return True
    except OSError:
        return False
