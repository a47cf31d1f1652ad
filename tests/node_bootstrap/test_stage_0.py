"""Stage 0 and install script run for real by bash, against a server that plays metadata address and storage."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from node_bootstrap.bundle import Bundle, build_bundle
from node_bootstrap.protocol import BootRecord, decode
from node_bootstrap.render import NodeProfile, OperatingSystem, render_stage_0
from tests.node_bootstrap.profiles import SAMPLE

NODE = "risk-d2sv5-0123abcd_7"
TOKEN = "a-token-that-nobody-may-see"


@dataclass
class Azure:
    """What the node sees: a metadata address and blobs, with a number of refusals before the roles have spread."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    refusals: int = 0
    url: str = ""

    def records(self) -> list[BootRecord]:
        """The boot records written so far, in order of name."""
        return [
            decode(BootRecord, data) for name, data in sorted(self.blobs.items()) if name.startswith("/nodes/boot/")
        ]


@pytest.fixture
def azure() -> Iterator[Azure]:
    """A server on loopback that plays Azure for one node."""
    state = Azure()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path.startswith("/metadata/"):
                self._metadata(parts.path, parse_qs(parts.query))
            elif state.refusals > 0:
                state.refusals -= 1
                self._answer(403, b"AuthorizationPermissionMismatch")
            elif self.headers["Authorization"] == f"Bearer {TOKEN}" and parts.path in state.blobs:
                self._answer(200, state.blobs[parts.path])
            else:
                self._answer(404, b"BlobNotFound")

        def do_PUT(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Authorization"] == f"Bearer {TOKEN}"
            assert self.headers["x-ms-blob-type"] == "BlockBlob"
            state.blobs[urlsplit(self.path).path] = data
            self._answer(201, b"")

        def _metadata(self, path: str, query: dict[str, list[str]]) -> None:
            assert self.headers["Metadata"] == "true"
            if path.endswith("/instance/compute"):
                self._answer(200, json.dumps({"name": NODE}).encode())
            else:
                assert query["client_id"] == [SAMPLE.identity_client_id]
                assert query["resource"] == ["https://storage.azure.com/"]
                self._answer(200, json.dumps({"access_token": TOKEN, "expires_on": "9999999999"}).encode())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield state
        server.shutdown()
        thread.join()


def boot(azure: Azure, bundle: Bundle, root: Path, **changes: object) -> subprocess.CompletedProcess[str]:
    """Run stage 0 as the machine's extension does."""
    profile: NodeProfile = replace(
        SAMPLE, blob_endpoint=f"{azure.url}/", queue_endpoint=f"{azure.url}/", bundle_sha256=bundle.sha256, **changes
    )
    return subprocess.run(
        ["bash", "-c", render_stage_0(OperatingSystem.LINUX, profile)],
        env={
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": azure.url,
            "MILLPOND_ROOT": str(root),
            "http_proxy": "http://127.0.0.1:9",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def runner_of(root: Path) -> int:
    """The runner's process id, as the install script wrote it down."""
    return int((root / "var" / "lib" / "millpond" / "runner.pid").read_text())


@pytest.fixture
def bundle(azure: Azure) -> Bundle:
    """The real bundle, published."""
    built = build_bundle(OperatingSystem.LINUX)
    azure.blobs[f"/bundles/{built.sha256}.tar.gz"] = built.data
    return built


def test_a_node_boots_once_its_roles_have_spread(azure: Azure, bundle: Bundle, tmp_path: Path) -> None:
    """Refused twice, it waits; then the runner runs from the bundle, each step is recorded, and no token is seen."""
    azure.refusals = 2
    done = boot(azure, bundle, tmp_path)
    assert done.returncode == 0, done.stderr
    pid = runner_of(tmp_path)
    try:
        assert [(record.step, record.exit_code) for record in azure.records()] == [
            ("stage-0", 0),
            ("fetch", 0),
            ("install", 0),
            ("service", 0),
        ]
        assert {record.node_id for record in azure.records()} == {NODE}
        settings_file = tmp_path / "var" / "lib" / "millpond" / "settings.json"
        settings = json.loads(settings_file.read_text())
        assert settings["node_id"] == NODE
        assert settings["work_queue"] == SAMPLE.work_queue
        assert settings_file.stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "opt" / "millpond" / bundle.sha256[:12] / "node_bootstrap" / "protocol.py").exists()
        # Again, as after a restart of the machine's agent: nothing is started twice.
        again = boot(azure, bundle, tmp_path)
        assert again.returncode == 0, again.stderr
        assert runner_of(tmp_path) == pid
        everything = done.stdout + done.stderr + again.stdout + again.stderr + settings_file.read_text()
        assert TOKEN not in everything
        assert not any(TOKEN.encode() in data for data in azure.blobs.values())
        assert "403" in done.stderr
    finally:
        os.kill(pid, 9)


def test_another_bundle_than_named_is_refused_and_recorded(azure: Azure, bundle: Bundle, tmp_path: Path) -> None:
    """Bytes with a wrong hash are never unpacked, and the record says why."""
    azure.blobs[f"/bundles/{bundle.sha256}.tar.gz"] = b"not the bundle"
    done = boot(azure, bundle, tmp_path)
    assert done.returncode != 0
    assert bundle.sha256 in done.stderr
    assert "failed at line" in done.stderr
    assert azure.records()[-1].step == "fetch"
    assert azure.records()[-1].exit_code == 1
    assert not (tmp_path / "opt").exists()


def test_a_failing_step_is_recorded_with_its_output(azure: Azure, bundle: Bundle, tmp_path: Path) -> None:
    """When the install script fails, its record has the exit code, the line and what was printed."""
    (tmp_path / "opt" / "millpond" / "current").mkdir(parents=True)
    (tmp_path / "opt" / "millpond" / "current" / bundle.sha256[:12]).mkdir()
    (tmp_path / "opt" / "millpond" / "current" / bundle.sha256[:12] / "file").touch()
    done = boot(azure, bundle, tmp_path)
    assert done.returncode != 0
    last = azure.records()[-1]
    assert last.step == "install"
    assert last.exit_code == done.returncode
    assert "failed at line" in last.output


def test_the_bundle_is_what_its_name_says(bundle: Bundle) -> None:
    """The published bundle's name is the hash that stage 0 checks."""
    assert hashlib.sha256(bundle.data).hexdigest() == bundle.sha256
