"""A certificate authority of this machine, and the certificate of its servers.

Token credentials refuse plain HTTP, so every endpoint that takes a token has a certificate.
"""

import datetime as dt
import ipaddress
import os
from dataclasses import dataclass, replace
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from infra.local.layout import write_private

_AUTHORITY_LIFE = dt.timedelta(days=3650)
_SERVER_LIFE = dt.timedelta(days=365)
_RENEW_BEFORE = dt.timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files of the servers' certificate and key, of the authority, and the bundle for clients."""

    certificate: Path
    key: Path
    authority: Path
    bundle: Path
    renewed: bool = False  # there was a certificate, and it was made anew


def ensure(folder: Path) -> Certificates:
    """Make what is missing or about to expire, keep the rest, and write the bundle anew.

    The bundle is what this process trusted before (REQUESTS_CA_BUNDLE, SSL_CERT_FILE or certifi) and our authority.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = Certificates(
        folder / "server.pem", folder / "server-key.pem", folder / "authority.pem", folder / "bundle.pem"
    )
    authority_key = folder / "authority-key.pem"
    before_us = files.certificate.read_bytes() if files.certificate.exists() else None
    if not (files.authority.exists() and authority_key.exists() and _fresh(files.authority)):
        _make_authority(files.authority, authority_key)
        files.certificate.unlink(missing_ok=True)
    if not (files.certificate.exists() and files.key.exists() and _fresh(files.certificate)):
        _make_server(files, authority_key)
    before = folder / "trusted-before.pem"
    source = _trusted_before(files.bundle)
    if source is not None:
        before.write_text(source.read_text().rstrip("\n") + "\n")
    files.bundle.write_text(before.read_text() + files.authority.read_text())
    return replace(files, renewed=before_us not in {None, files.certificate.read_bytes()})


def _trusted_before(ours: Path) -> Path | None:
    """Return the file that is trusted here without us; None when our own bundle stands for it already."""
    for variable in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        path = Path(os.environ.get(variable, ""))
        if path.is_file():
            return None if path.resolve() == ours.resolve() else path
    return Path(certifi.where())


def _fresh(path: Path) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError:
        return False  # damaged
    return certificate.not_valid_after_utc - _RENEW_BEFORE > dt.datetime.now(dt.UTC)


def _builder(
    subject: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey, life: dt.timedelta
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _make_authority(path: Path, key_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = f"Millpond local authority {x509.random_serial_number() % 10**8:08d}"
    certificate = (
        _builder(subject, _name(subject), key.public_key(), _AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write(certificate, path, key, key_path)


def _make_server(files: Certificates, authority_key_path: Path) -> None:
    authority = x509.load_pem_x509_certificate(files.authority.read_bytes())
    authority_key = serialization.load_pem_private_key(authority_key_path.read_bytes(), None)
    if not isinstance(authority_key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{authority_key_path} holds no elliptic-curve key; remove the folder {files.bundle.parent}")
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))],
    )
    certificate = (
        _builder("127.0.0.1", authority.subject, key.public_key(), _SERVER_LIFE)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    _write(certificate, files.certificate, key, files.key)


def _write(certificate: x509.Certificate, path: Path, key: ec.EllipticCurvePrivateKey, key_path: Path) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_private(key_path, pem.decode())
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
