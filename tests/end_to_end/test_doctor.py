"""`vdevice doctor` on real hosts, files and ports, whole and hurt."""

import datetime as dt
import json
import os
import socket
import ssl
import time
from pathlib import Path

import trustme

from tests.end_to_end.test_command_line import configure, running, vdevice
from tests.support import Recorder
from vdevice.cli.certs import init
from vdevice.outbox import database
from vdevice.web.auth import Access


async def findings(folder: Path, code: int) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for line in json.loads(await vdevice("doctor", "--json", folder=folder, code=code)):
        found.setdefault(line["what"], []).append((line["state"], line["words"]))
    return found


async def test_a_device_that_works_has_no_problem_and_gets_no_request(recorder: Recorder, tmp_path: Path) -> None:
    configure(tmp_path, recorder)
    (tmp_path / "vdevice.toml").chmod(0o600)
    assert "ok" in await vdevice("doctor", folder=tmp_path)
    async with running(tmp_path):
        await vdevice("send", "7", "x", "--wait", folder=tmp_path)
        found = await findings(tmp_path, 0)
    assert {state for lines in found.values() for state, _ in lines} == {"ok"}
    assert set(found) == {"config", "modbus.listen", "disk", "outbox", "clock", "target/7"}
    assert len(recorder.requests) == 1


async def test_each_problem_is_named(recorder: Recorder, tmp_path: Path) -> None:
    port = configure(tmp_path, recorder)
    config = tmp_path / "vdevice.toml"
    config.chmod(0o644)
    for number, url in ((1, "http://no-such-host.invalid/"), (2, "http://127.0.0.1:9/"), (3, "http://192.0.2.1/")):
        more = "enabled = false\n" if number == 3 else ""
        config.write_text(config.read_text() + f'[targets.{number}]\nmethod = "get"\nurl = "{url}"\n{more}')
    ca = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("elsewhere.example").configure_cert(server)
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with Recorder().serve(server) as wrong_name:
        config.write_text(
            config.read_text() + f'[targets.4]\nmethod = "get"\nurl = "{wrong_name.url}/"\ntls_ca = "ca.pem"\n'
        )
        file = tmp_path / "vdevice.db"
        connection = database.connect(file)
        ahead = time.time() + 3600
        connection.execute(
            "INSERT INTO event (id, target, accepted_at, since, value, source_connection, source_parameter, source_value) "
            "VALUES ('a', 7, ?, ?, '', '', '', '')",
            (ahead, ahead),
        )
        connection.close()
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", port))
            found = await findings(tmp_path, 1)
    assert found["config"][1] == ("warning", "vdevice.toml can be read by others; chmod 600 vdevice.toml")
    assert found["modbus.listen"][0][0] == "problem"
    assert found["clock"][0][0] == "problem"
    assert "not resolved" in found["target/1"][0][1]
    assert "no connection" in found["target/2"][0][1]
    assert found["target/3"][0][0] == "warning"
    assert "certificate" in found["target/4"][0][1]
    assert found["target/7"] == [("ok", "is reached")]


async def test_a_damaged_outbox_is_kept_and_a_new_one_begun_only_if_told(recorder: Recorder, tmp_path: Path) -> None:
    configure(tmp_path, recorder)
    (tmp_path / "vdevice.db").write_bytes(b"not a database, but long enough to be looked at" * 50)
    for _ in range(2):
        assert "outbox set-aside" in await vdevice("run", folder=tmp_path, code=1)
    assert "is vdevice.db.damaged-" in await vdevice("outbox", "set-aside", folder=tmp_path)
    assert "no outbox file" in await vdevice("outbox", "set-aside", folder=tmp_path, code=1)
    async with running(tmp_path):
        assert "stop it" in await vdevice("outbox", "set-aside", folder=tmp_path, code=1)
        assert "delivered" in await vdevice("send", "7", "new", "--wait", folder=tmp_path)
    (kept,) = tmp_path.glob("vdevice.db.damaged-*")
    assert kept.read_bytes().startswith(b"not a database")


async def test_a_damaged_outbox_is_found(recorder: Recorder, tmp_path: Path) -> None:
    configure(tmp_path, recorder)
    file = tmp_path / "vdevice.db"
    connection = database.connect(file)
    for number in range(2000):
        connection.execute(
            "INSERT INTO event (id, target, accepted_at, since, value, source_connection, source_parameter, source_value) "
            "VALUES (?, 7, 0, 0, ?, '', '', '')",
            (str(number), "x" * 100),
        )
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with file.open("r+b") as raw:
        raw.seek(file.stat().st_size // 2)
        raw.write(os.urandom(20_000))
    found = await findings(tmp_path, 1)
    assert any(state == "problem" and "damaged" in words for state, words in found["outbox"])


async def test_a_page_that_is_open_to_others_needs_a_password(tmp_path: Path) -> None:
    (tmp_path / "vdevice.toml").write_text('[modbus]\nlisten = "127.0.0.1:0"\n[web]\nlisten = "0.0.0.0:0"\n')
    assert (await findings(tmp_path, 1))["web.listen"][1] == (
        "problem",
        "it is open to others without a password; run `vdevice passwd`",
    )
    Access(tmp_path).set_password("admin", "long enough", "admin")
    assert len((await findings(tmp_path, 0))["web.listen"]) == 1


async def test_the_end_of_certificates_is_named(tmp_path: Path) -> None:
    init(tmp_path / "certs")
    files = 'cert = "certs/server.pem"\nkey = "certs/server.key"\nclient_ca = "old.pem"\n'
    (tmp_path / "vdevice.toml").write_text(
        f'[modbus]\nlisten = "127.0.0.1:0"\n[modbus.tls]\nlisten = "127.0.0.1:0"\n{files}'
    )
    ended = dt.datetime.now(dt.UTC) - dt.timedelta(days=2)
    old = trustme.CA().issue_cert("x", not_after=ended, not_before=ended - dt.timedelta(days=9))
    (tmp_path / "old.pem").write_bytes(old.cert_chain_pems[0].bytes())
    found = await findings(tmp_path, 1)
    assert found["modbus.tls.cert"][0][0] == "ok"
    assert found["modbus.tls.client_ca"] == [("problem", f"old.pem holds until {ended:%Y-%m-%d}")]
