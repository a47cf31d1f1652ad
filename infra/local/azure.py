"""The local Azure put together: its services, and the two servers that offer them."""

import asyncio
import contextlib
import secrets
import socket
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn
from azure.core.credentials import AccessToken as SdkToken
from starlette.applications import Starlette

from infra.local import certificates
from infra.local.arm.app import ArmApp, application
from infra.local.arm.manager import ResourceManager
from infra.local.arm.operations import Operations
from infra.local.arm.request_log import RequestLog
from infra.local.arm.resource_types import ResourceTypes
from infra.local.arm.store import Resource, Store
from infra.local.arm.subscription import Subscription
from infra.local.identity import Metadata, SignIn
from infra.local.layout import Layout
from infra.local.machines import Machines
from infra.local.ports import bind
from infra.local.services.authorization import Authorization
from infra.local.services.batch import Batch
from infra.local.services.groups import resource_groups
from infra.local.services.instances import Instances
from infra.local.services.network import Network
from infra.local.services.scale_sets import ComputeSettings, ScaleSets
from infra.local.services.storage import Storage
from infra.local.storage_server import StorageServers
from infra.local.tokens import Principal, TokenIssuer


@dataclass(frozen=True, slots=True)
class Account:
    """Who and where the user is, made at the first start and kept."""

    subscription_id: str
    tenant_id: str
    deployer: Principal
    identity_header: str


class _Server(uvicorn.Server):
    """A server that leaves signals to the daemon, and at its end drops the connections of clients that stay."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signals: two servers share the process."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait for requests under way, not for idle clients that do not answer the end of their TLS session."""
        self._drop(lambda cycle: cycle is None or cycle.response_complete)
        await super().shutdown(sockets)
        self._drop(lambda _: True)
        await asyncio.sleep(0)

    def _drop(self, chosen: Callable[[Any], bool]) -> None:
        for connection in list(self.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None and chosen(getattr(connection, "cycle", None)):
                transport.abort()


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
        self._sockets = {name: self._bind(name) for name in ("arm", "metadata")}
        self.operations = Operations(self.store)
        self._issuer = TokenIssuer(self.account.tenant_id, self.store.setting("token_secret", secrets.token_hex))
        self.machines = Machines(layout, lambda: self.metadata_url)
        self.instances = Instances(self.store, self.machines)
        self.storage = Storage(self.store, StorageServers(layout, self.certificates, azurite_command))
        authorization = Authorization(self.store, self.account.tenant_id, self.account.deployer)
        scale_sets = ScaleSets(self.store, self.machines, self.instances, compute, self._start_delete)
        self._types = ResourceTypes(
            [
                resource_groups(self.store, self._start_delete),
                *authorization.types(),
                *Network(self.store).types(),
                *self.storage.types(),
                *Batch(self.store, lambda: self.arm_url).types(),
                *scale_sets.types(),
            ]
        )
        self.operations.register("boot", self.instances.boot)
        self._manager = ResourceManager(self.store, self.operations, self._types)
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
            self.layout.powered_off.unlink()
        await asyncio.to_thread(self.storage.start_all)
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
            self.store.close()
            for listener in self._sockets.values():
                listener.close()

    def stop(self) -> None:
        """Let `serve` end; processes of machines and storage go on."""
        for server in self._servers.values():
            server.should_exit = True

    def _bind(self, name: str) -> socket.socket:
        """Bind a port, the one of the last run if it is free, so that running machines still find us."""
        listener = bind(int(self.store.setting(f"{name}_port", lambda: "0")))
        self.store.keep(f"{name}_port", str(_port(listener)))
        return listener

    def _start_delete(self, resource: Resource) -> None:
        self._manager.start_delete(resource, self._types.find(resource.type), always=True)

    def _make_servers(self, authorization: Authorization) -> dict[str, _Server]:
        account = self.account
        subscription = Subscription(account.subscription_id, account.tenant_id, self._types, self.store)
        log = RequestLog(self.layout.requests_log)
        arm = ArmApp(self.store, self._manager, subscription, self._issuer, log, authorization.may_manage)
        sign_in = SignIn(self._issuer, authorization, account.deployer, account.tenant_id, account.identity_header)
        metadata = Metadata(
            self.store, self._issuer, authorization, self.instances, account.deployer, account.identity_header
        )
        return {
            "arm": _server(
                application([*sign_in.routes(), *arm.routes()]),
                ssl_certfile=str(self.certificates.certificate),
                ssl_keyfile=str(self.certificates.key),
            ),
            "metadata": _server(application(metadata.routes())),
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
    return _Server(
        uvicorn.Config(
            app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=1, **options
        )
    )
