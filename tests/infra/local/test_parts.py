"""The parts of the local Azure's servers, each alone."""

import base64
import contextlib
import gzip
import json
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from infra.local import certificates, ports
from infra.local.arm.errors import conflict
from infra.local.arm.operations import Operations
from infra.local.arm.store import Operation, Resource, Status, Store
from infra.local.environment import shell_exports
from infra.local.layout import Layout, LocalAzureError
from infra.local.lock import hold, is_held
from infra.local.machines import extension_scripts
from infra.local.processes import kill_all, marked, of_instance
from infra.local.tokens import Principal, TokenError, TokenIssuer

USER = Principal("object", "client")


def test_the_bundle_keeps_what_was_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our authority is appended to the bundle in use; a second start keeps the files and does not append it twice."""
    before = tmp_path / "before.pem"
    before.write_text("# of this company\n")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(before))
    files = certificates.ensure(tmp_path / "certificates")
    first = files.bundle.read_text()
    assert first == before.read_text() + files.authority.read_text()
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(files.bundle))
    certificate = files.certificate.read_bytes()
    assert certificates.ensure(tmp_path / "certificates").bundle.read_text() == first
    assert files.certificate.read_bytes() == certificate


def test_the_servers_certificate_is_signed_by_the_authority(tmp_path: Path) -> None:
    """The chain verifies, and OpenSSL takes the files."""
    files = certificates.ensure(tmp_path)
    server = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    server.verify_directly_issued_by(x509.load_pem_x509_certificate(files.authority.read_bytes()))
    ssl.create_default_context(cafile=str(files.bundle)).load_cert_chain(files.certificate, files.key)


@given(st.text(max_size=30), st.integers(0, 200))
def test_a_changed_token_is_refused(secret: str, place: int) -> None:
    """A token is accepted as issued, and with any one character changed it is not."""
    issuer = TokenIssuer("tenant", secret)
    token = issuer.issue(USER, "https://localhost:1/.default").text
    assert issuer.check(token, "https://localhost:1") == USER
    place %= len(token) - 1  # the last character of a signature has bits that do not count
    changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
    with pytest.raises(TokenError):
        issuer.check(changed, "https://localhost:1")


def test_storage_tokens_have_the_issuer_and_audience_that_azurite_wants() -> None:
    """The storage scope becomes its audience, without a slash at its end."""
    token = TokenIssuer("tenant", "secret").issue(USER, "https://storage.azure.com/.default").text
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert (claims["aud"], claims["iss"]) == ("https://storage.azure.com", "https://sts.windows.net/tenant/")
    assert claims["exp"] > time.time()


def test_a_taken_port_is_given_up_for_another() -> None:
    """The old port is used when it is free; when it stays taken another one is."""
    with ports.bind(0) as first:
        taken = first.getsockname()[1]
        first.listen()
        with ports.bind(taken) as second:
            assert second.getsockname()[1] != taken
    with ports.bind(taken) as again:
        assert again.getsockname()[1] == taken
    assert isinstance(again, socket.socket)


def test_scripts_of_extensions_are_read() -> None:
    """Base64, gzip and commands are read in order; protected settings win; what is neither is refused."""
    packed = base64.b64encode(gzip.compress(b"two")).decode()
    plain = base64.b64encode(b"one").decode()
    extensions = [
        {"name": "a", "properties": {"settings": {"script": plain}}},
        {"name": "b", "properties": {"settings": {"script": plain}}},
        {"name": "c", "properties": {"settings": {"commandToExecute": "three"}}},
        {"name": "d", "properties": {}},
    ]
    profile = {"extensionProfile": {"extensions": extensions}}
    assert extension_scripts(profile, {"b": {"script": packed}}) == ["one", "two", "three\n"]
    with pytest.raises(ValueError, match="base64"):
        extension_scripts(profile, {"b": {"script": "not base64!"}})


def test_a_failed_transaction_changes_nothing(tmp_path: Path) -> None:
    """Resources, settings and operations of a transaction that raises are not there, nor do its hooks run."""
    store = Store(tmp_path / "store")
    ran = []

    def write_and_fail() -> None:
        with store.transaction():
            store.save(Resource("/a", "t", {}))
            store.start("k", "/a")
            store.after_commit(lambda: ran.append(1))
            raise LookupError

    with pytest.raises(LookupError):
        write_and_fail()
    assert (store.find(), store.unfinished(), ran) == ([], [], [])
    store.close()


def test_operations_step_fail_and_survive(tmp_path: Path) -> None:
    """Steps repeat until done, an error ends an operation as failed, and one not begun is done by the next engine."""
    store = Store(tmp_path / "store")
    steps: list[str] = []
    done = threading.Event()

    def step(operation: Operation) -> float | None:
        steps.append(operation.resource_id)
        return 0.01 if steps.count(operation.resource_id) < 3 else None

    def fail(_operation: Operation) -> float | None:
        raise conflict("Broken", "it broke")

    def last(_operation: Operation) -> None:
        done.set()

    stepping, failing = store.start("step", "/a"), store.start("fail", "/b")
    store.start("last", "/c", delay_seconds=0.3)
    for _ in range(2):
        engine = Operations(store)
        for kind, handler in (("step", step), ("fail", fail), ("last", last)):
            engine.register(kind, handler)
        engine.start()
        if steps.count("/a") == 3:
            assert done.wait(10)
        else:
            _await(store, failing.id, stepping.id)
        engine.stop()
    assert steps == ["/a"] * 3
    ended = store.operation(failing.id)
    assert ended is not None
    assert (ended.status, ended.error) == (Status.FAILED, {"code": "Broken", "message": "it broke"})
    store.close()


def _await(store: Store, *operation_ids: str) -> None:
    deadline = time.monotonic() + 60
    while {operation.id for operation in store.unfinished()} & set(operation_ids):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_processes_are_told_apart_by_root(tmp_path: Path) -> None:
    """Two machines of one name in two folders do not take each other's processes, nor those of no machine."""
    roots = [tmp_path / "one", tmp_path / "two"]
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    children = [
        subprocess.Popen(command, env={"MILLPOND_INSTANCE": "pool_0", "MILLPOND_ROOT": str(root)}) for root in roots
    ]
    try:
        deadline = time.monotonic() + 60
        while not all(marked(of_instance("pool_0", root)) for root in roots):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert len(kill_all(of_instance("pool_0", roots[0]))) == 1
        assert children[0].wait(60) == -9
        assert children[1].poll() is None
    finally:
        for child in children:
            child.kill()
            child.wait()


def test_one_process_holds_a_folder(tmp_path: Path) -> None:
    """A second holder is refused, and the lock is gone with its holder."""
    layout = Layout(tmp_path)
    assert not is_held(layout)
    with hold(layout):
        assert is_held(layout)
        with pytest.raises(LocalAzureError, match="up already"), contextlib.ExitStack() as stack:
            stack.enter_context(hold(layout))
    assert not is_held(layout)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20))
def test_exports_are_quoted(value: str) -> None:
    """Whatever a value contains, a shell that evaluates the line sets exactly it."""
    line = shell_exports({"VALUE": value})
    assert line.startswith("export VALUE=")
    assert line.endswith("\n")
    command = ["bash", "-c", line + 'printf %s "$VALUE"']
    run = subprocess.run(command, capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})
    assert run.stdout.decode() == value
