"""The role in a client's certificate, whatever its authority has signed."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from vdevice.cli.authority import write_all
from vdevice.modbus.tls import role_in


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("certs")
    write_all(folder, ["localhost"], ["operator"])
    return _der(folder / "client-operator.pem")


def _der(file: Path) -> bytes:
    return x509.load_pem_x509_certificate(file.read_bytes()).public_bytes(Encoding.DER)


def test_an_extension_that_is_there_twice_is_no_role(certificate: bytes) -> None:
    assert role_in(certificate) == "operator"
    usage, constraints = bytes.fromhex("0603551d25"), bytes.fromhex("0603551d13")
    assert usage in certificate
    assert constraints in certificate
    # Two extensions of one kind, which no builder makes; whoever verifies signatures does so before.
    assert role_in(certificate.replace(constraints, usage)) == ""


@given(st.data())
def test_no_certificate_raises(certificate: bytes, data: st.DataObject) -> None:
    changed = bytearray(certificate)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(changed)) | st.just(len(changed)))
    assert isinstance(role_in(bytes(changed[:cut])), str)


@given(st.binary(max_size=200))
def test_no_bytes_raise(data: bytes) -> None:
    assert role_in(data) == ""
