"""Secrets and config files that are no UTF-8, or begin with a byte order mark: the message names it."""

import os
from pathlib import Path

import pytest

from vdevice.config.load import load, parse
from vdevice.errors import ConfigError

TARGET = '[targets.7]\nmethod = "get"\nurl = "https://example.com/"\nbearer_token = {}\n'
FROM_ENV, FROM_FILE = TARGET.format('{ env = "T" }'), TARGET.format('{ file = "t" }')


def problem_of(toml: str, folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(toml, folder)
    return str(caught.value)


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
@pytest.mark.parametrize("source", ["env", "file"])
def test_the_line_break_at_the_end_of_a_secret_is_not_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, end: str
) -> None:
    monkeypatch.setenv("T", f"abc{end}")
    (tmp_path / "t").write_bytes(f"abc{end}".encode())
    token = parse(FROM_ENV if source == "env" else FROM_FILE, tmp_path).targets[7].bearer_token
    assert token
    assert token.reveal() == "abc"


def test_a_secret_that_is_no_utf8_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environb, b"T", b"abc\xff")
    (tmp_path / "t").write_bytes(b"abc\xff")
    assert "variable T is not UTF-8 text" in problem_of(FROM_ENV, tmp_path)
    assert "not UTF-8 text" in problem_of(FROM_FILE, tmp_path)


def test_the_byte_order_mark_of_a_secret_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T", "\ufeffabc")
    (tmp_path / "t").write_bytes("\ufeffabc".encode())
    for toml in (FROM_ENV, FROM_FILE):
        assert "byte order mark" in problem_of(toml, tmp_path)
    (tmp_path / "t").write_bytes("abc".encode("utf-16"))
    assert "UTF-16" in problem_of(FROM_FILE, tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("\ufeff[device]\n".encode(), "byte order mark"),
        ("[device]\n".encode("utf-16"), "UTF-16"),
        (b'[device]\nid = "\xfc"\n', "not UTF-8 text (byte 15)"),
    ],
)
def test_a_config_file_says_which_bytes_are_wrong(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "vdevice.toml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "vdevice.toml")
    assert words in str(caught.value)
    assert "UTF-8" in str(caught.value)


@pytest.mark.parametrize("key", ["targets.7.tls_ca", "outbox.credentials", "outbox.tls_ca", "modbus.tls"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_the_byte_order_mark_of_a_file_that_is_named_is_named(tmp_path: Path, key: str, encoding: str) -> None:
    (tmp_path / "f.pem").write_bytes("-----BEGIN CERTIFICATE-----\n".encode(encoding))
    toml = {
        "targets.7.tls_ca": '[targets.7]\nmethod = "get"\nurl = "https://example.com/"\ntls_ca = "f.pem"\n',
        "outbox.credentials": '[outbox]\nurl = "nats://h:1"\ncredentials = "f.pem"\n',
        "outbox.tls_ca": '[outbox]\nurl = "nats://h:1"\ntls_ca = "f.pem"\n',
        "modbus.tls": '[modbus.tls]\ncert = "f.pem"\nkey = "f.pem"\nclient_ca = "f.pem"\n',
    }[key]
    problem = problem_of(toml, tmp_path)
    assert key in problem
    assert "byte order mark" in problem
