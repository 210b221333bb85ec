"""Certificates for the broker and its gateways, from an authority of this stack's own.

One directory: `ca.key`, `ca.crt` and `ca.crl`, and `<name>.key` and `<name>.crt` for each. What is there and good for
another month is kept, else made anew. A directory without `ca.key` holds somebody else's certificates and is left
alone. Keys are readable by their owner only; nothing here is printed.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BROKER = "broker"
CA_DAYS = 3650
DAYS = 825
RENEW_DAYS = 30
_BACKDATED = timedelta(hours=1)  # a gateway whose clock is a little slow takes a new certificate too


class CertificateError(Exception):
    """A certificate cannot be made or revoked; the text says why."""


@dataclass(frozen=True)
class _Authority:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def make(directory: Path, hosts: Iterable[str], gateways: Iterable[str], now: datetime | None = None) -> list[str]:
    """See to it that the broker, under the names `hosts`, and every gateway have a certificate.

    A gateway's name is the common name, by which the broker knows it. Returns whose were made; none where the
    directory holds certificates of another authority. Raises CertificateError.
    """
    gateways = list(gateways)
    if {BROKER, "ca"} & set(gateways):
        raise CertificateError(f"no gateway can be called {BROKER} or ca: such files are there already")
    now = now or datetime.now(UTC)
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    if (directory / "ca.crt").exists() and not (directory / "ca.key").exists():
        return []
    authority = _authority(directory, now)
    made = []
    for name, names in ((BROKER, sorted({BROKER, "localhost", "127.0.0.1", *hosts})), *((g, []) for g in gateways)):
        if not _keeps(directory / f"{name}.crt", directory / f"{name}.key", authority, names, now):
            _issue(directory, authority, name, names, now)
            made.append(name)
    return made


def revoke(directory: Path, name: str, now: datetime | None = None) -> None:
    """Put the certificate of `name` on the list of revoked ones, and forget it. Raises CertificateError."""
    now = now or datetime.now(UTC)
    path = directory / f"{name}.crt"
    if not (directory / "ca.key").exists():
        raise CertificateError(
            f"no ca.key in {directory}: these are another authority's certificates; revoke them there"
        )
    authority = _authority(directory, now)
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        raise CertificateError(f"no certificate of {name!r} in {directory}: it may be revoked already") from None
    old = x509.load_pem_x509_crl((directory / "ca.crl").read_bytes())
    entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number).revocation_date(now).build()
    _write_crl(directory, authority, [*old, entry], now)
    for file in (path, directory / f"{name}.key"):
        file.unlink(missing_ok=True)


def _authority(directory: Path, now: datetime) -> _Authority:
    key_path, path = directory / "ca.key", directory / "ca.crt"
    if key_path.exists() and path.exists():
        key = serialization.load_pem_private_key(key_path.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise CertificateError(f"{key_path} is not a key made here")
        authority = _Authority(key, x509.load_pem_x509_certificate(path.read_bytes()))
        if not (directory / "ca.crl").exists():
            _write_crl(directory, authority, [], now)
        return authority
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hefa stack authority")])
    usage = _usage(digital_signature=False, sign=True)
    certificate = (
        _builder(subject, subject, key.public_key(), now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    authority = _Authority(key, certificate)
    _write_crl(directory, authority, [], now)
    _write(path, certificate.public_bytes(serialization.Encoding.PEM))
    _write(key_path, _pem(key))
    return authority


def _issue(directory: Path, authority: _Authority, name: str, hosts: list[str], now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    days = min(DAYS, (authority.certificate.not_valid_after_utc - now).days)
    builder = (
        _builder(subject, authority.certificate.subject, key.public_key(), now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True, sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
    certificate = builder.sign(authority.key, hashes.SHA256())
    _write(directory / f"{name}.key", _pem(key))
    _write(directory / f"{name}.crt", certificate.public_bytes(serialization.Encoding.PEM))


def _keeps(path: Path, key: Path, authority: _Authority, hosts: list[str], now: datetime) -> bool:
    """Tell whether a certificate is there with its key, ours, for these hosts, and good for a while."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        certificate.verify_directly_issued_by(authority.certificate)
    except Exception:  # whatever is wrong with it: another one is made
        return False
    known: set[str] = set()
    with suppress(x509.ExtensionNotFound):
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        known = {str(name.value) for name in names}
    return key.exists() and known == set(hosts) and certificate.not_valid_after_utc - now > timedelta(days=RENEW_DAYS)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*, digital_signature: bool, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=sign, crl_sign=sign,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _write_crl(
    directory: Path, authority: _Authority, revoked: Iterable[x509.RevokedCertificate], now: datetime
) -> None:
    """Valid as long as the authority: a list that ran out would shut every gateway out."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - _BACKDATED)
        .next_update(authority.certificate.not_valid_after_utc)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .add_extension(x509.CRLNumber(int(now.timestamp() * 1e6)), critical=False)
    )
    for entry in revoked:
        builder = builder.add_revoked_certificate(entry)
    crl = builder.sign(authority.key, hashes.SHA256())
    _write(directory / "ca.crl", crl.public_bytes(serialization.Encoding.PEM))


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
