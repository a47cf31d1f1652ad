"""PostgreSQL flexible servers as their clients see them: the management client, and a real driver with tokens."""

import os
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psutil
import psycopg
import pytest
from azure.core.exceptions import HttpResponseError
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.postgresqlflexibleservers import PostgreSQLManagementClient

from infra.local.processes import DATABASE_MARK, kill_all, marked, of_folder
from infra.local.tokens import LIFE_SECONDS, Principal
from scheduler.adapters.azure_database import proven_address
from scheduler.adapters.sql.database import Database
from tests.infra.local.conftest import GROUP, RunningAzure

SCOPE = "https://ossrdbms-aad.database.windows.net/.default"
BODY: dict[str, Any] = {
    "location": "westeurope",
    "sku": {"name": "Standard_B2s", "tier": "Burstable"},
    "properties": {
        "version": "16",
        "storage": {"storageSizeGB": 32},
        "authConfig": {"activeDirectoryAuth": "Enabled", "passwordAuth": "Disabled"},
        "network": {"publicNetworkAccess": "Disabled"},
    },
}


class Server:
    """A server with one administrator and one database, and what a client needs to get in."""

    def __init__(self, running: RunningAzure, name: str) -> None:
        self.running = running
        self.name = name
        self.client: PostgreSQLManagementClient = running.client(PostgreSQLManagementClient)
        identities = running.client(ManagedServiceIdentityClient)
        self.identity, self.stranger = (
            identities.user_assigned_identities.create_or_update(GROUP, each, {"location": "westeurope"})
            for each in ("id-scheduler", "id-stranger")
        )
        identities.close()
        self.made = self.client.servers.begin_create_or_update(GROUP, name, BODY).result()
        administrator = {"properties": {"principalName": "id-scheduler", "principalType": "ServicePrincipal"}}
        self.client.administrators_microsoft_entra.begin_create_or_update(
            GROUP, name, self.identity.principal_id, administrator
        ).result()
        self.client.databases.begin_create(GROUP, name, "millpond", {}).result()

    def token(self, identity: Any = None, scope: str = SCOPE) -> str:
        """A token of an identity, the administrator's unless another is given."""
        who = identity or self.identity
        return self.running.azure._issuer.issue(Principal(who.principal_id, who.client_id), scope).text

    def connect(self, password: str | None = None, **options: Any) -> psycopg.Connection:
        """Sign in as libpq does, by the address that the service gives."""
        host, _, port = self.client.servers.get(GROUP, self.name).fully_qualified_domain_name.partition(":")
        defaults = {
            "user": "id-scheduler",
            "dbname": "millpond",
            "sslmode": "verify-full",
            "sslrootcert": str(self.running.azure.certificates.authority),
            "connect_timeout": 10,
        }
        return psycopg.connect(host=host, port=port, password=password or self.token(), **{**defaults, **options})

    def process(self) -> psutil.Process:
        """The server's own process."""
        (found,) = [process for process, each in marked(lambda each: each.get(DATABASE_MARK) == self.name)]
        return found

    def delete(self) -> None:
        """Delete it, with all that it holds."""
        self.client.servers.begin_delete(GROUP, self.name).result()
        self.client.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAzure]:
    """One local Azure for all: its servers have names of their own."""
    served = RunningAzure(tmp_path_factory.mktemp("home"))
    served.resources.resource_groups.create_or_update(GROUP, {"location": "westeurope"})
    yield served
    served.close()
    kill_all(of_folder(served.layout.local))


@pytest.fixture(scope="module")
def server(running: RunningAzure) -> Iterator[Server]:
    """A server for all that leave it as it was."""
    made = Server(running, "psql-one")
    yield made
    made.delete()


def eventually(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_a_client_sees(server: Server) -> None:
    """A server is ready, with what the service adds, and its children are listed; no provisioning state is in it."""
    made = server.client.servers.get(GROUP, server.name)
    assert (made.state, made.replication_role, made.storage.tier) == ("Ready", "Primary", "P4")
    assert made.backup.backup_retention_days == 7
    assert [each.name for each in server.client.servers.list_by_resource_group(GROUP)] == [server.name]
    assert [each.name for each in server.client.databases.list_by_server(GROUP, server.name)] == ["millpond"]
    (administrator,) = server.client.administrators_microsoft_entra.list_by_server(GROUP, server.name)
    assert (administrator.principal_name, administrator.object_id) == ("id-scheduler", server.identity.principal_id)


def test_a_token_opens_the_database(server: Server) -> None:
    """The administrator signs in with a token over TLS, is the owner of the database, and can make tables."""
    with server.connect() as connection:
        connection.execute("CREATE TABLE numbers (n integer)")
        connection.execute("INSERT INTO numbers SELECT generate_series(1, 50000)")
        found = connection.execute("SELECT current_user, count(*), sum(n) FROM numbers").fetchone()
    assert found == ("id-scheduler", 50000, 1250025000)


@pytest.mark.parametrize("large", [100, 3_000_000])
def test_bytes_pass_unchanged(server: Server, large: int) -> None:
    """Whatever is sent comes back the same, also when it is large."""
    data = os.urandom(large)
    with server.connect() as connection:
        assert connection.execute("SELECT %b::bytea", [data]).fetchone() == (data,)


@pytest.mark.parametrize("case", ["stranger", "audience", "nonsense", "role", "superuser", "plain", "authority"])
def test_nobody_else_gets_in(server: Server, case: str) -> None:
    """Another identity, another audience, no token, another role, no encryption, an unknown authority: all refused."""
    wrong: dict[str, Any] = {
        "stranger": {"password": server.token(server.stranger)},
        "audience": {"password": server.token(scope="https://management.azure.com/.default")},
        "nonsense": {"password": "no token"},
        "role": {"user": "id-stranger"},
        "superuser": {"user": "postgres"},
        "plain": {"sslmode": "disable"},
        "authority": {"sslrootcert": "system"},
    }
    said = {
        "stranger": "not of the identity whose role",
        "audience": "wrong audience",
        "nonsense": "no access token",
        "role": "not of the identity",
        "superuser": "not of the identity",
        "plain": "encrypted connections only",
        "authority": "certificate",
    }
    with pytest.raises(psycopg.OperationalError, match=said[case]):
        server.connect(**wrong[case])


def test_a_token_that_has_ended(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token is good for its time; a session that it began goes on."""
    token = server.token()
    with server.connect(token) as connection:
        now = time.time()
        monkeypatch.setattr("infra.local.tokens.time.time", lambda: now + LIFE_SECONDS + 1)
        assert connection.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError, match="expiry time is in the past"):
            server.connect(token)


def test_an_administrator_comes_and_goes(server: Server) -> None:
    """Another identity signs in for as long as it is an administrator."""
    administrators, who = server.client.administrators_microsoft_entra, server.stranger.principal_id
    body = {"properties": {"principalName": "id-stranger", "principalType": "ServicePrincipal"}}
    administrators.begin_create_or_update(GROUP, server.name, who, body).result()
    token = server.token(server.stranger)
    with server.connect(token, user="id-stranger") as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("id-stranger",)
    with pytest.raises(psycopg.OperationalError, match="not of the identity"):
        server.connect(token)
    administrators.begin_delete(GROUP, server.name, who).result()
    with pytest.raises(psycopg.OperationalError, match="not of the identity"):
        server.connect(token, user="id-stranger")


def test_a_statement_can_be_cancelled(server: Server) -> None:
    """A request to cancel reaches the session it is for."""
    with server.connect() as connection:
        began = time.monotonic()
        pid = connection.info.backend_pid
        with server.connect() as other:
            other.execute("SELECT pg_cancel_backend(%s)", [pid])
        connection.cancel_safe(timeout=5)
        assert connection.execute("SELECT 1").fetchone() == (1,)
        assert time.monotonic() - began < 20


def test_a_server_that_is_killed_comes_back(server: Server) -> None:
    """Its process is started again on the same port, with all that was committed."""
    with server.connect() as connection:
        connection.execute("CREATE TABLE after_all (n integer)")
    killed = server.process()
    killed.kill()
    eventually(lambda: not killed.is_running() or killed.status() == psutil.STATUS_ZOMBIE)

    def answers() -> bool:
        try:
            with server.connect() as connection:
                return connection.execute("SELECT count(*) FROM after_all").fetchone() == (0,)
        except psycopg.OperationalError:
            return False

    eventually(answers)


def test_a_restart_ends_sessions(server: Server) -> None:
    """The action of the service restarts the server: sessions end, new ones begin."""
    with server.connect() as connection:
        server.client.servers.begin_restart(GROUP, server.name).result()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with server.connect() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_what_is_deleted_is_gone(running: RunningAzure) -> None:
    """A server that is deleted has no process, no port and no data; one of its name begins anew."""
    first = Server(running, "psql-two")
    process = first.process()
    with first.connect() as connection:
        connection.execute("CREATE TABLE gone (n integer)")
    first.delete()
    eventually(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
    assert not (running.layout.databases / "psql-two").exists()
    again = Server(running, "psql-two")
    with again.connect() as connection:
        assert connection.execute("SELECT to_regclass('gone')").fetchone() == (None,)
    again.delete()


@pytest.mark.parametrize(
    ("name", "change", "code"),
    [
        ("Psql", {}, "InvalidServerName"),
        ("psql-new", {"sku": {"name": "Standard_D2ds_v5", "tier": "Burstable"}}, "InvalidSku"),
        ("psql-new", {"properties": BODY["properties"] | {"storage": {"storageSizeGB": 16}}}, "InvalidStorageSize"),
        (
            "psql-new",
            {"properties": BODY["properties"] | {"authConfig": {"passwordAuth": "Enabled"}}},
            "AuthenticationNotSupported",
        ),
    ],
)
def test_wrong_requests_are_refused(running: RunningAzure, name: str, change: dict[str, Any], code: str) -> None:
    """Each is told by its code, and no server is started."""
    with running.client(PostgreSQLManagementClient) as client, pytest.raises(HttpResponseError) as raised:
        client.servers.begin_create_or_update(GROUP, name, BODY | change).result()
    assert raised.value.error is not None
    assert raised.value.error.code == code
    assert not (running.layout.databases / name).exists()


def test_a_machine_without_postgresql(running: RunningAzure, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's allocation fails, and the message says what to install."""
    monkeypatch.setattr("infra.local.postgres.programs._candidates", lambda: iter(()))
    with running.client(PostgreSQLManagementClient) as client:
        with pytest.raises(HttpResponseError, match="make setup"):
            client.servers.begin_create_or_update(GROUP, "psql-none", BODY).result()
        client.servers.begin_delete(GROUP, "psql-none").result()


def test_the_scheduler_signs_in(server: Server) -> None:
    """The scheduler's own store opens there, with a token as its password."""
    host = server.client.servers.get(GROUP, server.name).fully_qualified_domain_name
    url = f"postgresql+psycopg://id-scheduler@{host}/millpond"
    address = proven_address(url, str(server.running.azure.certificates.bundle))
    assert urllib.parse.urlsplit(address).hostname == "127.0.0.1"
    with closing(Database(address, server.token)) as database:
        assert database.begin_epoch() == 1
