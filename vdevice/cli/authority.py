"""A certificate authority of one evening: keys and certificates of a device and its clients, on P-256 and SHA-256.

Imported only when certificates are made: the library behind it costs memory that a running device need not have.
"""

import datetime as dt
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vdevice.modbus.tls import ROLE

DAYS = 3650
"""Days that a certificate holds: a plant runs for years, and nobody comes to renew it."""

_Key = ec.EllipticCurvePrivateKey
_USES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
         "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip


def write_all(folder: Path, hosts: list[str], roles: list[str]) -> None:
    """Write ca, server and a client-ROLE for each role into a folder, as .pem and .key.

    Raises OSError, FileExistsError for a file that is there.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = ec.generate_private_key(ec.SECP256R1())
    root = _certificate("vdevice CA", authority, None, authority)
    _write(folder, "ca", root, authority)
    server = ec.generate_private_key(ec.SECP256R1())
    _write(folder, "server", _certificate(hosts[0], server, root, authority, hosts=hosts), server)
    for role in roles:
        client = ec.generate_private_key(ec.SECP256R1())
        _write(folder, f"client-{role}", _certificate(role, client, root, authority, role=role), client)


def _certificate(
    name: str,
    key: _Key,
    issuer: x509.Certificate | None,
    issuer_key: _Key,
    *,
    hosts: list[str] | None = None,
    role: str | None = None,
) -> x509.Certificate:
    """Return a certificate: of the authority without an issuer, of the device with hosts, of a client with a role."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    now = dt.datetime.now(dt.UTC)
    authority = issuer.public_key() if issuer else key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A PLC's clock may be behind.
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(
            _usage("digital_signature" if issuer else "key_cert_sign", "" if issuer else "crl_sign"), critical=True
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority), critical=False)  # type: ignore[arg-type]
    )
    if issuer:
        use = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
    if role is not None:
        der = bytes((0x0C, len(role.encode()))) + role.encode()
        builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(ROLE), der), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _usage(*uses: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{use: use in uses for use in _USES})


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(folder: Path, name: str, certificate: x509.Certificate, key: _Key) -> None:
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for suffix, content, mode in ((".key", secret, 0o600), (".pem", certificate.public_bytes(pem), 0o644)):
        handle = os.open(folder / f"{name}{suffix}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
