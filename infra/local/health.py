"""How the parts of a local Azure are, looked at from outside: whether each answers, and what to do if it does not."""

import datetime as dt
import json
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
from cryptography import x509

from infra.local.layout import Layout, RunningState
from infra.local.processes import DATABASE_MARK, INSTANCE_MARK, STORAGE_MARK, marked, of_folder

RESTART = "run: millpond local up"
_PATIENCE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Part:
    """One part: where it is or what is wrong with it, and how it is brought back when it is not healthy."""

    name: str
    healthy: bool
    detail: str
    recovery: str | None = None


def look(layout: Layout, state: RunningState) -> tuple[Part, ...]:
    """Ask every part of a running local Azure, all at once."""
    questions: list[Callable[[], Part]] = [
        lambda: _answers("resource manager", f"{state.arm_url}/metadata/endpoints", state),
        lambda: _answers("metadata", f"{state.metadata_url}/faults", state),
        lambda: _speaks("provider", state.provider_port, "ResourceProvider"),
        lambda: _speaks("language host", state.language_port, "LanguageRuntime"),
        lambda: _certificate(layout),
    ]
    with ThreadPoolExecutor(len(questions) + 1) as threads:
        storage = threads.submit(_storage, layout)
        parts = [answer.result() for answer in [threads.submit(question) for question in questions]]
        return (*parts, *storage.result(), *databases(layout))


def left_behind(layout: Layout) -> tuple[int, int]:
    """Count what runs of a folder without its daemon: storage servers, and processes of machines."""
    found = [environment for _, environment in marked(of_folder(layout.local))]
    storage = sum(STORAGE_MARK in environment for environment in found)
    return storage, sum(INSTANCE_MARK in environment for environment in found)


def ask(url: str, state: RunningState, method: str = "GET", body: dict[str, Any] | None = None) -> Any:
    """Ask an endpoint of the local Azure, with the user's identity header; proxies are not asked."""
    trust = ssl.create_default_context(cafile=state.ca_file) if url.startswith("https:") else None
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if trust is not None:
        handlers.append(urllib.request.HTTPSHandler(context=trust))
    data = None if body is None else json.dumps(body).encode()
    headers = {"X-IDENTITY-HEADER": state.identity_header, "Content-Type": "application/json"}
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 - the daemon's own address
    with urllib.request.build_opener(*handlers).open(request, timeout=_PATIENCE_SECONDS) as answer:
        return json.load(answer)


def _answers(name: str, url: str, state: RunningState) -> Part:
    place = url.rpartition("/")[0].removesuffix("/metadata")
    try:
        ask(url, state)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Part(name, healthy=False, detail=f"{place} does not answer as it should: {reason}", recovery=RESTART)
    return Part(name, healthy=True, detail=place)


def _speaks(name: str, port: int, service: str) -> Part:
    place = f"127.0.0.1:{port}"
    with grpc.insecure_channel(place) as channel:  # type: ignore[no-untyped-call] # grpcio ships no types
        # The message is empty and the answer is not read, so the engine's protocol need not be loaded.
        call = channel.unary_unary(f"/pulumirpc.{service}/GetPluginInfo", lambda raw: raw, lambda raw: raw)
        try:
            call(b"", timeout=_PATIENCE_SECONDS)
        except grpc.RpcError as error:
            status = error.code().name  # type: ignore[attr-defined] # every error of a call has one
            detail = f"{place} does not answer: {status}"
            return Part(name, healthy=False, detail=detail, recovery=RESTART)
    return Part(name, healthy=True, detail=place)


def _certificate(layout: Layout) -> Part:
    path = layout.certificates / "server.pem"
    renew = "run: millpond local down, then millpond local up, which makes a new one"
    try:
        end = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError) as error:
        return Part("certificate", healthy=False, detail=f"{path} cannot be read: {error}", recovery=renew)
    if end <= dt.datetime.now(dt.UTC):
        return Part("certificate", healthy=False, detail=f"{path} expired on {end:%Y-%m-%d}", recovery=renew)
    return Part("certificate", healthy=True, detail=f"valid until {end:%Y-%m-%d}")


def databases(layout: Layout) -> list[Part]:
    """Find each database server by its process, and see that its front lets clients in."""
    servers = {environment.get(DATABASE_MARK) for _, environment in marked(of_folder(layout.local))}
    folders = sorted(folder for folder in layout.databases.glob("*") if (folder / "port").exists())
    return [_database(folder, lives=folder.name in servers) for folder in folders]


def _database(folder: Path, *, lives: bool) -> Part:
    name = f"database {folder.name}"
    place = f"127.0.0.1:{(folder / 'port').read_text().strip()}"
    log = f"; log: {folder / 'server.log'}"
    if not lives:
        return Part(name, healthy=False, detail=f"its server is not running{log}", recovery=RESTART)
    try:
        socket.create_connection(("127.0.0.1", int(place.rpartition(":")[2])), _PATIENCE_SECONDS).close()
    except OSError as error:
        return Part(name, healthy=False, detail=f"{place} does not answer: {error}{log}", recovery=RESTART)
    return Part(name, healthy=True, detail=place)


def _storage(layout: Layout) -> list[Part]:
    """Find the server of each account by its processes; an account has a folder for as long as it is there."""
    processes: dict[str, list[psutil.Process]] = {}
    for process, environment in marked(of_folder(layout.local)):
        if STORAGE_MARK in environment:
            processes.setdefault(environment[STORAGE_MARK], []).append(process)
    accounts = sorted(folder.name for folder in layout.storage.glob("*") if folder.is_dir())
    return [_storage_server(layout.storage / name, processes.get(name, [])) for name in accounts]


def _storage_server(folder: Path, processes: list[psutil.Process]) -> Part:
    name = f"storage {folder.name}"
    ports: set[int] = set()
    for process in processes:
        try:
            ports |= {c.laddr.port for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
        except psutil.Error:
            continue  # gone meanwhile
    if ports:
        pids = ", ".join(str(process.pid) for process in processes)
        return Part(name, healthy=True, detail=f"process {pids}, ports {', '.join(map(str, sorted(ports)))}")
    state = "its server listens nowhere" if processes else "its server is not running"
    return Part(name, healthy=False, detail=f"{state}; log: {folder / 'server.log'}", recovery=RESTART)
