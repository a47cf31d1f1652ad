"""The local Azure put together: its services, and the two servers that offer them."""

import asyncio
import contextlib
import random
import secrets
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from azure.core.credentials import AccessToken as SdkToken
from starlette.applications import Starlette

from infra.local import certificates
from infra.local.arm.app import ArmApp, application
from infra.local.arm.body_check import RequestSchemas
from infra.local.arm.manager import ResourceManager
from infra.local.arm.operations import Operations
from infra.local.arm.request_log import RequestLog
from infra.local.arm.resource_types import ResourceTypes
from infra.local.arm.store import Resource, Store
from infra.local.arm.subscription import Subscription
from infra.local.batch_service.app import BatchService
from infra.local.batch_service.nodes import NodeService
from infra.local.batch_service.pools import PoolService
from infra.local.control import Control
from infra.local.faults import Faults
from infra.local.identity import Metadata, SignIn
from infra.local.layout import Layout
from infra.local.machines import Machines
from infra.local.permissions.access_log import AccessLog
from infra.local.permissions.storage_permissions import StoragePermissions, Trust
from infra.local.ports import bind
from infra.local.postgres.front import Fronts
from infra.local.postgres.servers import DatabaseServers
from infra.local.services.access.authorization import Authorization
from infra.local.services.batch import allocation as batch_allocation
from infra.local.services.batch import nodes as batch_nodes
from infra.local.services.batch.accounts import BatchAccounts
from infra.local.services.batch.allocation import BatchAllocation
from infra.local.services.batch.applications import BatchApplications
from infra.local.services.batch.nodes import BatchNodes
from infra.local.services.batch.pools import BatchPools
from infra.local.services.compute.service import Compute
from infra.local.services.compute.settings import ComputeSettings
from infra.local.services.databases.flexible_servers import FlexibleServers, admits
from infra.local.services.network.service import Network
from infra.local.services.network.usages import network_usages
from infra.local.services.resources.deployments import Deployments
from infra.local.services.resources.groups import resource_groups
from infra.local.services.resources.tags import Tags
from infra.local.services.storage.accounts import Storage
from infra.local.storage_server import StorageServers
from infra.local.tokens import Principal, TokenIssuer
from scheduler.api.http_server import HttpServer


@dataclass(frozen=True, slots=True)
class Account:
    """Who and where the user is, made at the first start and kept."""

    subscription_id: str
    tenant_id: str
    deployer: Principal
    identity_header: str


class _Server(HttpServer):
    """A server that leaves signals to the daemon, and at its end drops the connections of idle clients."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signals: two servers share the process."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait for requests under way, not for idle clients that do not answer the end of their TLS session."""
        self.drop(lambda cycle: cycle is None or cycle.response_complete)
        await super().shutdown(sockets)


class LocalAzure:
    """All services of one folder. `serve` runs until `stop` is called, from any thread."""

    def __init__(self, layout: Layout, compute: ComputeSettings, azurite_command: Callable[[], list[str]]) -> None:
        for folder in (layout.local, layout.instances, layout.storage, layout.pulumi_backend):
            folder.mkdir(parents=True, exist_ok=True)
        layout.local.chmod(0o700)
        self.layout = layout
        self.certificates = certificates.ensure(layout.certificates)
        self.store = Store(layout.store)
        self.account = _account(self.store)
        self.faults = Faults(self.store, random.random, time.time)
        self.notes: list[str] = []
        self._sockets = {name: self._bind(name) for name in ("arm", "metadata")}
        self.operations = Operations(self.store)
        self._issuer = TokenIssuer(self.account.tenant_id, self.store.setting("token_secret", secrets.token_hex))
        self.machines = Machines(layout, lambda: self.metadata_url)
        self.compute = Compute(self.store, self.machines, self.faults, self.operations, compute, self._start_delete)
        self.instances = self.compute.instances
        authorization = Authorization(
            self.store,
            self.account.tenant_id,
            self.account.deployer,
            self.account.subscription_id,
            AccessLog(layout.access_log),
        )
        servers = StorageServers(layout, self.certificates, azurite_command)
        own = Principal(self.store.setting("own_object_id", lambda: str(uuid.uuid4())), str(uuid.UUID(int=0)))
        self.storage_permissions = StoragePermissions(
            self.store, layout, servers, authorization.grants, self.faults, self._trust(own)
        )
        self.storage = Storage(
            self.store, servers, self.storage_permissions, UserCredential(self._issuer, own), own.object_id
        )
        fronts = Fronts(self.certificates.certificate, self.certificates.key, self._issuer)
        self.databases = FlexibleServers(
            self.store, DatabaseServers(layout, fronts, lambda *asked: admits(self.store, *asked))
        )
        self.batch_accounts = BatchAccounts(
            self.store, self.account.tenant_id, lambda: self.arm_url, self._start_delete
        )
        self.batch_nodes = BatchNodes(
            self.store,
            self.machines,
            self.faults,
            self.batch_accounts.url,
            self.operations.wake,
            compute.boot_delay_seconds,
        )
        self._allocation = BatchAllocation(self.store, self.batch_nodes, self.faults, self.operations.wake)
        self._batch_pools = BatchPools(self.store, self.batch_nodes, self._allocation)
        self.deployments = Deployments(self.store, lambda: self._manager, self.account.deployer, self.account.tenant_id)
        self._types = ResourceTypes(
            [
                resource_groups(self.store, self._start_delete),
                *authorization.types(),
                *Network(self.store).types(),
                *self.storage.types(),
                *self.databases.types(),
                *self.batch_accounts.types(),
                *self._batch_pools.types(),
                *BatchApplications(self.store, lambda: self._manager, str(self.certificates.bundle)).types(),
                *self.compute.types(),
                *self.deployments.types(),
            ]
        )
        self.operations.register(batch_allocation.RESIZE, self._allocation.step)
        self.operations.register(batch_nodes.BOOT, self.batch_nodes.boot)
        self.operations.register(batch_nodes.LEAVE, self.batch_nodes.delete)
        self.operations.register(batch_nodes.DEALLOCATE, self.batch_nodes.switch_off)
        self.operations.register(batch_nodes.PREEMPT, self.batch_nodes.take_machine)
        self._manager = ResourceManager(self.store, self.operations, self._types, RequestSchemas.load())
        self._servers = self._make_servers(authorization)

    @property
    def arm_url(self) -> str:
        """The address of the resource manager."""
        return f"https://127.0.0.1:{_port(self._sockets['arm'])}"

    @property
    def metadata_url(self) -> str:
        """The address below which metadata services are."""
        return f"http://127.0.0.1:{_port(self._sockets['metadata'])}"

    def token(self, scope: str | None = None) -> str:
        """Make a token of the user, for the resource manager unless a scope is given."""
        return self._issuer.issue(self.account.deployer, scope or self.arm_url).text

    def credential(self) -> "UserCredential":
        """Return the user as an Azure credential, for clients in this process."""
        return UserCredential(self._issuer, self.account.deployer)

    async def serve(self, ready: Callable[[], None]) -> None:
        """Start what was running, serve, and call `ready` once clients are answered."""
        if self.layout.powered_off.exists():
            self.instances.power_on()
            self.batch_nodes.power_on()
            self.layout.powered_off.unlink()
        await asyncio.to_thread(self.storage.start_all)
        await asyncio.to_thread(self.databases.start_all)
        self.operations.start()
        running = [
            asyncio.create_task(server.serve(sockets=[self._sockets[name]])) for name, server in self._servers.items()
        ]
        try:
            while not all(server.started for server in self._servers.values()):
                if any(task.done() for task in running):
                    break
                await asyncio.sleep(0.01)
            else:
                ready()
            await asyncio.gather(*running)
        finally:
            await asyncio.to_thread(self.operations.stop)
            self.machines.leave_running()
            self.storage.leave_running()
            await asyncio.to_thread(self.databases.stop_all)
            self.store.close()
            for listener in self._sockets.values():
                listener.close()

    def stop(self) -> None:
        """Let `serve` end; processes of machines and storage go on."""
        for server in self._servers.values():
            server.should_exit = True

    def _bind(self, name: str) -> socket.socket:
        """Bind a port, the one of the last run if it is free, so that running machines still find us."""
        listener = bind(self.wanted_port(name))
        self.keep_port(name, _port(listener))
        return listener

    def wanted_port(self, name: str) -> int:
        """Return the port that a server had in the last run; 0 if there was none."""
        return int(self.store.setting(f"{name}_port", lambda: "0"))

    def keep_port(self, name: str, port: int) -> None:
        """Keep a server's port for the next run; when its old one was taken, note what that means."""
        wanted = self.wanted_port(name)
        if wanted not in {0, port}:
            self.notes.append(
                f"Port {wanted} of the last run is taken by another program, so {name} is at port {port} now: load the"
                " environment anew, and where machines run: millpond local down, then up, so that they find it"
            )
        self.store.keep(f"{name}_port", str(port))

    def _trust(self, own: Principal) -> Trust:
        """Say how the storage servers know their clients, the local Azure itself among them."""
        return Trust(
            self.store.setting("token_secret", secrets.token_hex),
            own.object_id,
            lambda: f"{self.arm_url}/{self.account.tenant_id}/oauth2/authorize",
            lambda: self.metadata_url,
            self.account.identity_header,
        )

    def _start_delete(self, resource: Resource) -> None:
        self._manager.start_delete(resource, self._types.find(resource.type), always=True)

    def _make_servers(self, authorization: Authorization) -> dict[str, _Server]:
        account = self.account
        routes = (
            *self.batch_accounts.routes(),
            *self.compute.routes(),
            *self.deployments.routes(),
            *Tags(self.store).routes(),
            *network_usages(self.store),
            *self.storage.routes(),
        )
        subscription = Subscription(account.subscription_id, account.tenant_id, self._types, self.store, routes)
        log = RequestLog(self.layout.requests_log)
        arm = ArmApp(self.store, self._manager, subscription, self._issuer, log, self.faults, authorization.check)
        sign_in = SignIn(self._issuer, authorization, account.deployer, account.tenant_id, account.identity_header)
        metadata = Metadata(
            self.store,
            self._issuer,
            authorization,
            self.instances,
            account.deployer,
            account.identity_header,
            self.batch_nodes.by_nonce,
        )
        control = Control(
            self.faults,
            account.identity_header,
            lambda node, notice: self.batch_nodes.preempt(node, notice) or self.instances.preempt(node, notice),
        )
        batch = BatchService(
            self.batch_accounts.find,
            PoolService(self.store, self._manager, self._batch_pools, self.batch_nodes, self._allocation),
            NodeService(self.store, self.batch_nodes, self.machines),
            self._issuer,
            log,
            self.faults,
            authorization.allows,
        )
        return {
            "arm": _server(
                application([*batch.routes(), *sign_in.routes(), *arm.routes()]),
                ssl_certfile=str(self.certificates.certificate),
                ssl_keyfile=str(self.certificates.key),
            ),
            "metadata": _server(
                application([*control.routes(), *self.storage_permissions.routes(), *metadata.routes()])
            ),
        }


class UserCredential:
    """The user as a token credential."""

    def __init__(self, issuer: TokenIssuer, principal: Principal) -> None:
        self._issuer = issuer
        self._principal = principal

    def get_token(self, *scopes: str, **_options: Any) -> SdkToken:
        """Return a token for the first scope."""
        token = self._issuer.issue(self._principal, scopes[0])
        return SdkToken(token.text, token.expires_on)


def _account(store: Store) -> Account:
    def made(name: str) -> str:
        return store.setting(name, lambda: str(uuid.uuid4()))

    deployer = Principal(made("deployer_object_id"), made("deployer_client_id"))
    header = store.setting("identity_header", lambda: secrets.token_urlsafe(24))
    return Account(made("subscription_id"), made("tenant_id"), deployer, header)


def _port(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def _server(app: Starlette, **options: Any) -> _Server:
    return _Server(app, timeout_graceful_shutdown=1, **options)
