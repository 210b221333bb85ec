"""Certificates: made once, renewed in time, revoked for good, and never another authority's."""

from __future__ import annotations

import ipaddress
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from typer.testing import CliRunner

from hefa_platform import certificates
from hefa_platform.certificates import CertificateError
from hefa_platform.cli import app

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def certificate(folder: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes())


def test_each_has_what_it_is_for_and_its_owner_only_reads_it(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    assert certificates.make(folder, ["broker.example.org", "192.0.2.7"], ["gw-a1"], NOW) == ["broker", "gw-a1"]
    broker, gateway, authority = (certificate(folder, name) for name in ("broker", "gw-a1", "ca"))
    names = broker.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"broker", "localhost", "broker.example.org"}
    assert set(names.get_values_for_type(x509.IPAddress)) == {
        ipaddress.ip_address(a) for a in ("127.0.0.1", "192.0.2.7")
    }
    assert [a.value for a in gateway.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["gw-a1"]
    for one, purpose in ((broker, ExtendedKeyUsageOID.SERVER_AUTH), (gateway, ExtendedKeyUsageOID.CLIENT_AUTH)):
        one.verify_directly_issued_by(authority)
        assert list(one.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [purpose]
        assert one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_what_is_good_is_kept_and_what_ends_soon_is_made_anew(tmp_path: Path) -> None:
    certificates.make(tmp_path, [], ["gw-a1"], NOW)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert certificates.make(tmp_path, [], ["gw-a1"], NOW + timedelta(days=certificates.DAYS - 31)) == []
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    soon = NOW + timedelta(days=certificates.DAYS - 29)
    assert certificates.make(tmp_path, [], ["gw-a1"], soon) == ["broker", "gw-a1"]
    assert (tmp_path / "ca.crt").read_bytes() == before["ca.crt"]
    assert certificate(tmp_path, "gw-a1").not_valid_after_utc > soon + timedelta(days=365)


@pytest.mark.parametrize("change", ["host", "no key", "garbled", "of another authority"])
def test_what_does_not_fit_is_made_anew(tmp_path: Path, change: str) -> None:
    certificates.make(tmp_path, [], ["gw-a1"], NOW)
    hosts, path, expected = [], tmp_path / "gw-a1.crt", ["gw-a1"]
    if change == "host":
        hosts, expected = ["broker.example.org"], ["broker"]
    elif change == "no key":
        (tmp_path / "gw-a1.key").unlink()
    elif change == "garbled":
        path.write_text("-----BEGIN")
    else:
        certificates.make(tmp_path / "other", [], ["gw-a1"], NOW)
        path.write_bytes((tmp_path / "other" / "gw-a1.crt").read_bytes())
    assert certificates.make(tmp_path, hosts, ["gw-a1"], NOW) == expected


def test_revoked_certificates_stay_on_the_list(tmp_path: Path) -> None:
    certificates.make(tmp_path, [], ["gw-a1", "gw-a2"], NOW)
    serials = {certificate(tmp_path, name).serial_number for name in ("gw-a1", "gw-a2")}
    certificates.revoke(tmp_path, "gw-a1", NOW)
    certificates.revoke(tmp_path, "gw-a2", NOW)
    assert certificates.make(tmp_path, [], ["gw-a1"], NOW) == ["gw-a1"]
    revoked = x509.load_pem_x509_crl((tmp_path / "ca.crl").read_bytes())
    authority = certificate(tmp_path, "ca")
    assert {entry.serial_number for entry in revoked} == serials
    assert certificate(tmp_path, "gw-a1").serial_number not in serials
    assert revoked.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
    assert revoked.next_update_utc == authority.not_valid_after_utc  # one that ran out would shut everybody out
    with pytest.raises(CertificateError, match="revoked already"):
        certificates.revoke(tmp_path, "gw-a2", NOW)


def test_another_authoritys_certificates_are_left_alone(tmp_path: Path) -> None:
    certificates.make(tmp_path, [], ["gw-a1"], NOW)
    (tmp_path / "ca.key").unlink()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert certificates.make(tmp_path, ["elsewhere"], ["gw-new"], NOW) == []
    with pytest.raises(CertificateError, match="another authority"):
        certificates.revoke(tmp_path, "gw-a1", NOW)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--host", "broker.example.org", "gw-hall3"], 0, "broker, gw-hall3"),
        (["Gw"], 2, "no names of gateways: Gw"),
        (["broker"], 2, "can be called broker"),
        (["--revoke", "gw-hall3"], 2, "no ca.key"),
    ],
)
def test_the_command(tmp_path: Path, arguments: list[str], code: int, says: str) -> None:
    done = CliRunner().invoke(app, ["certs", "--dir", str(tmp_path / "certs"), *arguments])
    assert (done.exit_code, says in done.output) == (code, True), done.output
