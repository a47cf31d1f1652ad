"""The guard before Azurite: each operation of the table is let through by what it needs, and by nothing less.

It runs here before a server that answers 200 to everything, so that only the guard decides.
"""

import json
import ssl
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local import certificates
from infra.local.layout import write_private
from infra.local.permissions.access_log import read
from infra.local.permissions.storage_operations import TABLE, is_data_action
from infra.local.ports import free_ports
from infra.local.services.access.role_definitions import BUILT_IN_ROLES
from infra.local.storage_server import GUARD
from infra.local.tokens import Principal, TokenIssuer
from infra.local.toolchain import azurite_command

SCOPE = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/acct"
ISSUER = TokenIssuer("tenant", "secret")
WHO = Principal(str(uuid.uuid4()), "client")
SERVER = """
const https = require("https"), fs = require("fs");
const options = { cert: fs.readFileSync(process.argv[1]), key: fs.readFileSync(process.argv[2]) };
for (const port of process.env.MILLPOND_STORAGE_PORTS.split(",")) {
  https.createServer(options).on("request", (request, response) => {
    request.resume();
    response.writeHead(200, { "if-none-match-was": request.headers["if-none-match"] || "" }).end("passed");
  }).listen(Number(port), "127.0.0.1", () => console.log("listens"));
}
"""
PATHS = {
    ("blob", "account"): "",
    ("blob", "container"): "box",
    ("blob", "blob"): "box/a/b",
    ("queue", "account"): "",
    ("queue", "queue"): "work",
    ("queue", "messages"): "work/messages",
    ("queue", "message"): "work/messages/1",
    ("table", "account"): "",
    ("table", "tables"): "Tables",
    ("table", "named"): "Tables('people')",
    ("table", "batch"): "$batch",
    ("table", "table"): "people()",
    ("table", "entity"): "people(PartitionKey='a',RowKey='b')",
}
OPERATIONS = json.loads(TABLE.read_text())["operations"]


class Guarded:
    """The guarded server, with the permissions that a test gives."""

    def __init__(self, folder: Path, ports: tuple[int, ...], bundle: Path) -> None:
        self.file = folder / "permissions.json"
        self.log = folder / "access.jsonl"
        self.ports = dict(zip(("blob", "queue", "table"), ports, strict=True))
        self.http = httpx.Client(verify=ssl.create_default_context(cafile=bundle))
        self.permit()

    def permit(self, *actions: str, condition: Any = None, scope: str = SCOPE, **settings: Any) -> None:
        """Let one principal do these actions, and nobody anything else."""
        permission = {
            "actions": [action for action in actions if not is_data_action(action)],
            "notActions": [],
            "dataActions": [action for action in actions if is_data_action(action)],
            "notDataActions": [],
        }
        self.write(
            [{"principal": WHO.object_id, "scope": scope.lower(), "since": 0, "condition": condition,
              "permissions": [permission]}], **settings,
        )  # fmt: skip

    def write(self, grants: list[dict[str, Any]], **settings: Any) -> None:
        """Write the permissions file."""
        content = {
            "account": "acct", "scope": SCOPE, "tokenSecret": "secret", "trusted": "the-daemon", "signInUrl": "https://x",
            "sharedKeyAccess": True, "publicAccess": True, "faulty": False, "faultUrl": "", "faultHeader": "",
            "accessLog": str(self.log), "grants": grants,
        }  # fmt: skip
        write_private(self.file, json.dumps(content | settings))

    def ask(
        self, service: str, path: str, method: str = "GET", who: Principal | None = WHO, **options: Any
    ) -> httpx.Response:
        """Send one request, with a principal's token unless there is none."""
        headers = options.pop("headers", {})
        if who is not None:
            headers = headers | {"Authorization": f"Bearer {ISSUER.issue(who, 'https://storage.azure.com').text}"}
        url = f"https://127.0.0.1:{self.ports[service]}/acct/{path}"
        return self.http.request(method, url, headers=headers, **options)

    def operate(self, row: dict[str, Any]) -> httpx.Response:
        """Send the request of a row of the table."""
        query = {name: row[name] for name in ("comp", "restype") if row[name]} | (
            {"peekonly": "true"} if row.get("peek") else {}
        )
        headers = {"If-Match": "*"} if row.get("conditional") else {}
        return self.ask(
            row["service"], PATHS[row["service"], row["level"]], row["method"], params=query, headers=headers
        )


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Serve behind the guard."""
    folder = tmp_path_factory.mktemp("guard")
    files = certificates.ensure(folder / "certificates")
    made = Guarded(folder, free_ports([0, 0, 0]), files.bundle)
    environment = {
        "MILLPOND_STORAGE_PORTS": ",".join(map(str, made.ports.values())),
        "MILLPOND_STORAGE_PERMISSIONS": str(made.file),
    }
    command = [azurite_command()[0], "--require", str(GUARD), "-e", SERVER, str(files.certificate), str(files.key)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process, made.http:
        assert process.stdout is not None
        for _ in made.ports:
            assert process.stdout.readline() == "listens\n"
        yield made
        process.terminate()


@pytest.mark.parametrize("row", OPERATIONS, ids=lambda row: f"{row['service']}-{row['level']}-{row['operation']}")
def test_each_operation_needs_what_the_table_says(guarded: Guarded, row: dict[str, Any]) -> None:
    """Every alternative suffices, each of its actions is needed, and a permission on another account does not count."""
    for need in row["needs"]:
        guarded.permit(*need)
        assert guarded.operate(row).status_code == 200, need
        guarded.permit(*need, scope=f"{SCOPE}2")
        assert guarded.operate(row).status_code == 403
        for missing in need:
            rest = [action for action in need if action != missing]
            if not any(set(other) <= set(rest) for other in row["needs"]):
                guarded.permit(*rest)
                refused = guarded.operate(row)
                assert (refused.status_code, refused.headers["x-ms-error-code"]) == (
                    403,
                    "AuthorizationPermissionMismatch",
                )


def test_every_level_of_the_table_is_tried() -> None:
    """The rows name levels that paths lead to, and no operation twice."""
    assert {(row["service"], row["level"]) for row in OPERATIONS} == set(PATHS)
    keys = [
        (
            row["service"],
            row["level"],
            row["method"],
            row["comp"],
            row["restype"],
            row.get("peek"),
            row.get("conditional"),
        )
        for row in OPERATIONS
    ]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    ("role", "may"),
    [
        ("Storage Queue Data Message Processor", {"Get Messages", "Peek Messages", "Delete Message"}),
        ("Storage Queue Data Message Sender", {"Put Message"}),
        ("Storage Queue Data Reader", {"Peek Messages", "List Queues", "Get Queue Metadata"}),
    ],
)
def test_roles_on_queues(guarded: Guarded, role: str, may: set[str]) -> None:
    """What the documentation says of a role: renewing a message needs more than Message Processor."""
    (permission,) = next(found for found in BUILT_IN_ROLES.values() if found.name == role).permissions
    guarded.permit(*permission.actions, *permission.data_actions)
    rows = [row for row in OPERATIONS if row["service"] == "queue"]
    assert {row["operation"] for row in rows if guarded.operate(row).status_code == 200} == may


def test_conditions_narrow_what_is_granted(guarded: Guarded) -> None:
    """A condition on the queue's name lets one queue pass and not another; one on a blob's path looks at the path."""
    queues = "Microsoft.Storage/storageAccounts/queueServices/queues"
    guarded.permit(
        f"{queues}/messages/read",
        condition=["compare", "", "StringLike", ["attribute", "Resource", f"{queues}:name"], ["values", ["risk-*"]]],
    )
    answers = [guarded.ask("queue", f"{name}/messages?peekonly=true").status_code for name in ("risk-1", "other")]
    assert answers == [200, 403]
    blobs = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
    guarded.permit(
        f"{blobs}/read",
        condition=["compare", "", "StringLike", ["attribute", "Resource", f"{blobs}:path"], ["values", ["a/*"]]],
    )
    assert [guarded.ask("blob", f"box/{name}").status_code for name in ("a/x", "b/x", "a/y")] == [200, 403, 200]


def test_an_assignment_counts_from_its_time_on(guarded: Guarded) -> None:
    """One that is not known everywhere yet is answered with 403, and allowed once it is."""
    permission = {"actions": [], "notActions": [], "dataActions": ["*"], "notDataActions": []}
    grant = {"principal": WHO.object_id, "scope": SCOPE.lower(), "condition": None, "permissions": [permission]}
    guarded.write([grant | {"since": 9e9}])
    assert guarded.ask("blob", "box/a").status_code == 403
    guarded.write([grant | {"since": 1}])
    assert guarded.ask("blob", "box/a").status_code == 200


def test_who_may_only_add_does_not_replace(guarded: Guarded) -> None:
    """With add/action alone a blob is put on the condition that there is none."""
    blobs = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
    guarded.permit(f"{blobs}/add/action")
    assert guarded.ask("blob", "box/a", "PUT").headers["if-none-match-was"] == "*"
    guarded.permit(f"{blobs}/write")
    assert guarded.ask("blob", "box/a", "PUT").headers["if-none-match-was"] == ""


def test_a_copy_needs_its_source(guarded: Guarded) -> None:
    """Copying within the account takes the right to read the source; a signed source speaks for itself."""
    blobs = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
    source = f"https://127.0.0.1:{guarded.ports['blob']}/acct/secret/x"
    guarded.permit(f"{blobs}/write")
    assert guarded.ask("blob", "box/a", "PUT", headers={"x-ms-copy-source": source}).status_code == 403
    assert guarded.ask("blob", "box/a", "PUT", headers={"x-ms-copy-source": f"{source}?sig=1"}).status_code == 200
    guarded.permit(f"{blobs}/write", f"{blobs}/read")
    assert guarded.ask("blob", "box/a", "PUT", headers={"x-ms-copy-source": source}).status_code == 200


def test_keys_signatures_and_nobody(guarded: Guarded) -> None:
    """Where keys are off, keys and SAS are refused; where public access is off, so is an unsigned request."""
    key = {"Authorization": "SharedKey acct:c2ln"}
    guarded.permit()
    assert guarded.ask("blob", "box/a", who=None, headers=key).status_code == 200
    assert guarded.ask("blob", "box/a?sig=x", who=None).status_code == 200
    assert guarded.ask("blob", "box/a", who=None).status_code == 200
    assert guarded.ask("queue", "work/messages", who=None).status_code == 401
    guarded.permit(sharedKeyAccess=False, publicAccess=False)
    for path, headers in (("box/a", key), ("box/a?sig=x", {})):
        refused = guarded.ask("blob", path, who=None, headers=headers)
        assert (refused.status_code, refused.headers["x-ms-error-code"]) == (403, "KeyBasedAuthenticationNotPermitted")
    refused = guarded.ask("blob", "box/a", who=None)
    assert (refused.status_code, refused.headers["x-ms-error-code"]) == (409, "PublicAccessNotPermitted")
    assert "<Code>PublicAccessNotPermitted</Code>" in refused.text
    assert guarded.ask("blob", f"box/a?sig=x&skoid={WHO.object_id}", who=None).status_code == 403
    assert guarded.ask("blob", "box?restype=container", "HEAD", who=None).text == ""


def test_foreign_tokens_are_not_taken(guarded: Guarded) -> None:
    """A token of another issuer is 401 with a challenge; the local Azure's own passes everywhere."""
    guarded.permit("*")
    foreign = TokenIssuer("tenant", "other").issue(WHO, "https://storage.azure.com").text
    refused = guarded.ask("blob", "box/a", who=None, headers={"Authorization": f"Bearer {foreign}"})
    assert (refused.status_code, refused.headers["x-ms-error-code"]) == (401, "InvalidAuthenticationInfo")
    assert refused.headers["www-authenticate"].startswith("Bearer authorization_uri=")
    assert guarded.ask("table", "Tables", who=None, headers={"Authorization": "Bearer x"}).json()["odata.error"]["code"]
    assert guarded.ask("queue", "work", "DELETE", who=Principal("the-daemon", "c")).status_code == 200


def test_unknown_operations_are_refused(guarded: Guarded) -> None:
    """What the table does not have is nobody's right."""
    guarded.permit("*", "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/*")
    assert guarded.ask("blob", "box/a?comp=strange", "PUT").status_code == 403


def test_each_decision_is_written_once(guarded: Guarded) -> None:
    """The access log has one line for each principal, action, scope and answer."""
    guarded.permit("Microsoft.Storage/storageAccounts/queueServices/queues/messages/add/action")
    for _ in range(3):
        guarded.ask("queue", "logged/messages", "POST")
        guarded.ask("queue", "logged/messages")
    found = [entry for entry in read(guarded.log) if entry.scope.endswith("/queues/logged")]
    assert [(entry.operation, entry.allowed, entry.data) for entry in found] == [
        ("Put Message", True, True),
        ("Get Messages", False, True),
    ]
