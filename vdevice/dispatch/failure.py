"""What it means that no response came: an error on the way to an outcome with plain words. Pure.

The words hold no address and no URL, and nothing that a server could have chosen but OpenSSL's own reasons.
"""

import os
import re
import socket
import ssl

from vdevice.clean import one_line, shorten
from vdevice.dispatch.connection import ClosedError
from vdevice.dispatch.connections import HandshakeError
from vdevice.dispatch.egress import DeniedError
from vdevice.dispatch.http1 import ResponseError
from vdevice.dispatch.proxy import ProxyError
from vdevice.model import ErrorCode, Outcome, Verdict

_WHERE = re.compile(r"\[[A-Z0-9_: ]*\] *| *\(_ssl\.c:\d+\)")

LONGEST = 200
"""Characters of a text."""

_HANDSHAKE = {
    "WRONG_VERSION_NUMBER": "the server does not speak TLS on this port, perhaps plain HTTP: write http:// in the URL",
    "HTTP_REQUEST": "the server speaks plain HTTP on this port: write http:// in the URL",
    "UNSUPPORTED_PROTOCOL": "the server speaks an older version of TLS than 1.2, which is not safe",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the server wants another version of TLS than 1.2 and 1.3",
    "NO_PROTOCOLS_AVAILABLE": "the server and vdevice have no version of TLS in common",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the server refuses: no cipher in common, or it wants a client certificate (tls_cert)",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the server wants a client certificate: set tls_cert",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the server refuses the client certificate (tls_cert)",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the client certificate (tls_cert) has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "the client certificate (tls_cert) was revoked",
    "TLSV1_ALERT_UNKNOWN_CA": "the server does not know the CA of the client certificate (tls_cert)",
    "TLSV1_ALERT_ACCESS_DENIED": "the server refuses the client certificate (tls_cert)",
    "TLSV1_UNRECOGNIZED_NAME": "the server does not know the host name of the URL",
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": "the server speaks HTTP/2 only, which vdevice does not",
    "UNEXPECTED_EOF_WHILE_READING": "the server closed the connection during the handshake",
    "DH_KEY_TOO_SMALL": "the server's key is too short to be safe",
    "EE_KEY_TOO_SMALL": "the key of the server's certificate is too short to be safe",
    "UNSAFE_LEGACY_RENEGOTIATION_DISABLED": "the server speaks TLS in an old way that is not safe",
}
"""OpenSSL's reasons in words."""

# https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/
_CERTIFICATE = {
    9: "is not valid yet; are the clocks right?",
    10: "has expired",
    18: "is self-signed: name it in tls_ca to trust it",
    19: "is of a CA that is not known: name that in tls_ca",
    20: "is of a CA that is not known: name that in tls_ca",
    21: "is of a CA that is not known: name that in tls_ca",
    23: "was revoked",
    62: "is for another host than the one in the URL",
    64: "is for another host than the address in the URL",
}


class CertificateFileError(OSError):
    """A file of a target's TLS settings that cannot be used."""


def failure(error: Exception) -> Outcome:
    """Return what it means that no response came."""
    match error:
        case DeniedError():
            text = "every address of the host is in a network that delivery.deny_networks denies"
            return Outcome(Verdict.GIVE_UP, ErrorCode.CONNECT, text=text)
        case socket.gaierror():
            code, text = ErrorCode.DNS, "the name of the host is not resolved"
        case ssl.SSLError():
            code, text = ErrorCode.TLS, _tls(error)
        case CertificateFileError():
            code, text = ErrorCode.TLS, "tls_ca, tls_cert or tls_key cannot be read, or is no certificate"
        case HandshakeError():
            code, text = ErrorCode.TLS, f"TLS: {_HANDSHAKE['UNEXPECTED_EOF_WHILE_READING']}"
        case ResponseError() | ProxyError():
            code, text = ErrorCode.CONNECT, str(error)
        case ClosedError():
            code, text = ErrorCode.CONNECT, "the connection was closed before a response"
        case OSError():
            # The error's own words may hold addresses.
            reason = os.strerror(error.errno) if error.errno else type(error).__name__
            code, text = ErrorCode.CONNECT, f"no connection: {reason}"
        case _:
            code, text = ErrorCode.CONNECT, f"the request failed ({type(error).__name__})"
    return Outcome(Verdict.RETRY, code, text=shorten(one_line(text), LONGEST))


def _tls(error: Exception) -> str:
    """Return OpenSSL's reason in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        words = _CERTIFICATE.get(error.verify_code) or f"is not trusted: {error.verify_message or 'no reason given'}"
        return f"the server's certificate {words}"
    # "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)"; Python knows the name of most, the words are in all.
    words = _WHERE.sub("", str(error.args[1] if len(error.args) > 1 else ""))
    return f"TLS: {_HANDSHAKE.get(words.replace(' ', '_').upper()) or words or 'no reason given'}"
