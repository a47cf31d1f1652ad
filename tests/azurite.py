"""A real Azurite over HTTPS with Entra-like tokens, for the suites and benches that need storage and nothing else."""

import base64
import http.server
import ipaddress
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from azure.core.credentials import AccessToken
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from infra.local.toolchain import azurite_command
from node_bootstrap.protocol import CONTAINERS, EVENTS_QUEUE

ACCOUNT = "contracts"
TENANT = "11111111-1111-1111-1111-111111111111"
START_SECONDS = 60
LISTENING = re.compile(r"Azurite (Blob|Queue|Table) service is successfully listening at (https://\S+)")


class UnsignedCredential:
    """Tokens as Azurite's basic check wants them: issuer, audience and expiry count, the signature does not."""

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        """Give a token for storage that is good for an hour."""
        expires_on = int(time.time()) + 3600
        claims = {
            "aud": "https://storage.azure.com",
            "iss": f"https://sts.windows.net/{TENANT}/",
            "iat": expires_on - 3660,
            "nbf": expires_on - 3660,
            "exp": expires_on,
        }
        parts = ({"alg": "none", "typ": "JWT"}, claims)
        encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
        return AccessToken(".".join((*encoded, "c2lnbmF0dXJl")), expires_on)


@dataclass(frozen=True)
class Storage:
    """Where the account is, who may use it, what its clients must trust, and Azurite's log: a line a request."""

    blob_endpoint: str
    queue_endpoint: str
    credential: UnsignedCredential
    certificate: Path
    log: Path


@contextmanager
def azurite(folder: Path, *, in_memory: bool = True) -> Iterator[Storage]:
    """Give an account with the containers and the events queue, gone at the end; this process trusts it meanwhile."""
    certificate, key = write_certificate(folder)
    log = folder / "azurite.log"
    ports = [f"--{service}Port=0" for service in ("blob", "queue", "table")]
    flags = ["--skipApiVersionCheck", "--disableTelemetry", "--oauth=basic", f"--cert={certificate}", f"--key={key}"]
    flags += ["--inMemoryPersistence"] if in_memory else ["--location", str(folder / "data")]
    secret = base64.b64encode(os.urandom(32)).decode()
    trusted = os.environ.get("REQUESTS_CA_BUNDLE")
    os.environ["REQUESTS_CA_BUNDLE"] = str(certificate)
    with log.open("w") as output:
        process = subprocess.Popen(
            [*azurite_command(), *ports, *flags],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{secret}"},
            text=True,
        )
    try:
        found = endpoints(process, log)
        made = Storage(found["Blob"], found["Queue"], UnsignedCredential(), certificate, log)
        with BlobServiceClient(made.blob_endpoint, made.credential) as blobs:
            for container in CONTAINERS:
                blobs.create_container(container)
        with QueueServiceClient(made.queue_endpoint, made.credential) as queues:
            queues.create_queue(EVENTS_QUEUE)
        yield made
    finally:
        process.terminate()
        process.wait(timeout=30)
        if trusted is None:
            del os.environ["REQUESTS_CA_BUNDLE"]
        else:
            os.environ["REQUESTS_CA_BUNDLE"] = trusted


def endpoints(process: subprocess.Popen[str], log: Path) -> dict[str, str]:
    """Wait until every service listens, and give their addresses."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        found = dict(LISTENING.findall(log.read_text(encoding="utf-8")))
        if len(found) == 3:
            return {service: f"{address}/{ACCOUNT}" for service, address in found.items()}
        time.sleep(0.05)
    raise RuntimeError(f"Azurite did not start:\n{log.read_text(encoding='utf-8')}")


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a self-signed certificate of 127.0.0.1 that clients can trust as its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "contract tests")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file


@contextmanager
def metadata_address(credential: UnsignedCredential) -> Iterator[str]:
    """Serve the metadata address: tokens, and no scheduled events."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            token = credential.get_token()
            events = "/scheduledevents" in self.path
            document = (
                {"Events": []}
                if events
                else {
                    "access_token": token.token,
                    "expires_on": str(token.expires_on),
                    "resource": "https://storage.azure.com",
                    "token_type": "Bearer",
                }
            )
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
