"""Certificates that settings name: whether they are there, and the TLS context of the Modbus/TCP Security listener.

Modbus/TCP Security Protocol Specification (v2.1, 2018): TLS 1.2 or newer, and a certificate of both sides.
"""

import ssl
from collections.abc import Iterator
from pathlib import Path

from vdevice.config.guard import short
from vdevice.config.schema import Outbox, Target, Tls
from vdevice.config.secret import mark_of


def server_context(tls: Tls) -> ssl.SSLContext:
    """Return the context that asks each client for a certificate of `client_ca`.

    Raises ValueError with what is wrong, and the setting in front of it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    # A session that is taken up again would keep the certificate of another day.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    try:
        context.load_verify_locations(tls.client_ca)
    except (OSError, ValueError):
        words = mark_in(tls.client_ca) or "is no PEM file with certificates"
        raise ValueError(f"client_ca: {tls.client_ca.name!r} {words}") from None
    try:
        # A key with a passphrase would ask for it on the terminal.
        context.load_cert_chain(tls.cert, tls.key, password="")
    except (OSError, ValueError):
        for key, file in (("cert", tls.cert), ("key", tls.key)):
            if mark := mark_in(file):
                raise ValueError(f"{key}: {file.name!r} {mark}") from None
        raise ValueError(
            f"cert: {tls.cert.name!r} and {tls.key.name!r} are no PEM files of a certificate and its key without a passphrase"
        ) from None
    return context


def certificates(section: Target | Outbox) -> Iterator[tuple[str, str]]:
    """Yield key and words for each certificate of a target or outbox that cannot be used."""
    for key in ("tls_ca", "tls_cert", "tls_key"):
        file = getattr(section, key)
        if file is None:
            continue
        if not is_file(file):
            yield key, not_there(file)
        elif mark := mark_in(file):
            yield key, f"names {file.name!r}, which {mark}"
    if section.tls_key and not section.tls_cert:
        yield "tls_key", "goes with tls_cert; add it"


def is_file(file: Path) -> bool:
    """Tell whether a name leads to a regular file; also of a name that no file can have."""
    try:
        return file.is_file()
    except (OSError, ValueError):
        return False


def not_there(file: Path) -> str:
    """Return what to say of a file that is missing."""
    return f"names {short(file.name)!r}, which is not there; a relative path starts at the config's folder"


def mark_in(file: Path) -> str:
    """Return what to say of a byte order mark that a PEM file begins with; empty where there is none."""
    try:
        with file.open("rb") as opened:
            return mark_of(opened.read(3))
    except OSError:
        return ""
