"""`vdevice doctor`: what could keep this device from working here; it sends nothing."""

import asyncio
import contextlib
import datetime as dt
import os
import shutil
import socket
import sqlite3
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from vdevice import logs
from vdevice.cli.options import DEFAULT_CONFIG, ConfigPath, Json, console, new_table, print_json
from vdevice.config import Config, load
from vdevice.config.schema import Listen, Tls
from vdevice.dispatch.reach import reach
from vdevice.errors import VdeviceError
from vdevice.model import EventState
from vdevice.outbox import database, files, log_watch
from vdevice.outbox.api import open_letters
from vdevice.terminal import visible
from vdevice.web.auth import LOOPBACK, Access

LEAST_FREE = 200 * 2**20
"""Bytes of disk below which the outbox is in danger: some 100,000 long strings."""

RENEW = 60
"""Days before the end of a certificate at which it is time to think of another."""

REACH = 5.0
"""Seconds that a target may take to be reached."""

AHEAD = 60.0
"""Seconds that the outbox's newest string may be ahead of the clock."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    what: str
    state: Literal["ok", "warning", "problem"]
    words: str


def doctor(*, config: ConfigPath = DEFAULT_CONFIG, as_json: Json = False) -> int:
    """Look at config, port, permissions, disk, clock, outbox, and at name and TLS of each target; exit 1 for a problem."""
    logs.configure(quiet=True)
    loaded = load(config)
    findings = [Finding("config", "ok", f"{len(loaded.targets)} targets, {len(loaded.rules)} rules")]
    findings += [*_permissions(config, loaded), _port("modbus.listen", loaded.modbus.listen)]
    if loaded.modbus.tls:
        findings += [_port("modbus.tls.listen", loaded.modbus.tls.listen), *_certificates(loaded.modbus.tls)]
    if loaded.web.enabled:
        findings += [_port("web.listen", loaded.web.listen), *_page(config, loaded)]
    findings += [*_outbox(loaded), *asyncio.run(_targets(loaded))]
    if as_json:
        print_json(findings)
    else:
        table = new_table("", "what", "found", wrap=("found",))
        colors = {"ok": "green", "warning": "yellow", "problem": "red"}
        for finding in findings:
            table.add_row(finding.state, finding.what, visible(finding.words), style=colors[finding.state])
        console.print(table)
    return 1 if any(finding.state == "problem" for finding in findings) else 0


def _permissions(path: Path, config: Config) -> Iterator[Finding]:
    if sys.platform == "win32":
        return
    files = [("config", path)] + ([] if config.outbox.is_nats else [("outbox", config.outbox_file)])
    files += [("modbus.tls.key", config.modbus.tls.key)] if config.modbus.tls else []
    for what, file in files:
        if file.exists() and stat.S_IMODE(file.stat().st_mode) & 0o077:
            yield Finding(what, "warning", f"{file.name} can be read by others; chmod 600 {file.name}")


def _port(what: str, listen: Listen) -> Finding:
    with contextlib.suppress(OSError), socket.create_connection((listen.reachable_host, listen.port), 1):
        return Finding(what, "ok", f"something listens on {listen}: this device, if it runs")
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((listen.host, listen.port))
    except OSError as error:
        return Finding(what, "problem", f"{listen} cannot be listened on ({error.strerror})")
    return Finding(what, "ok", f"{listen} is free")


def _page(path: Path, config: Config) -> Iterator[Finding]:
    access = Access(path.resolve().parent)
    access.look()
    if config.web.listen.host not in LOOPBACK and access.is_open:
        yield Finding("web.listen", "problem", "it is open to others without a password; run `vdevice passwd`")


def _certificates(tls: Tls) -> Iterator[Finding]:
    from cryptography import x509  # noqa: PLC0415 (costs memory, and no other command needs it)

    for key in ("cert", "client_ca"):
        file = getattr(tls, key)
        for certificate in x509.load_pem_x509_certificates(file.read_bytes()):
            until = certificate.not_valid_after_utc
            words = f"{file.name} holds until {until:%Y-%m-%d}"
            days = (until - dt.datetime.now(dt.UTC)).days
            yield Finding(f"modbus.tls.{key}", "problem" if days < 0 else "warning" if days < RENEW else "ok", words)


def _outbox(config: Config) -> Iterator[Finding]:
    file = config.outbox_file
    if not config.outbox.is_nats:
        yield from _disk(file)
        if not file.exists():
            yield Finding("outbox", "ok", "there is none yet; the first `vdevice run` makes it")
            return
    try:
        if not config.outbox.is_nats:
            yield _integrity(file)
        with open_letters(config) as letters:
            waiting = letters.select([EventState.WAITING], None, -1)
            failed = letters.select([EventState.FAILED], None, -1)
    except VdeviceError as error:
        yield Finding("outbox", "problem", str(error))
        return
    words = f"{len(waiting)} strings wait, {len(failed)} dead letters"
    yield Finding("outbox", "warning" if failed else "ok", words)
    newest = max((row["accepted_at"] for row in (*waiting, *failed)), default=0.0)
    late = newest - time.time()
    if late > AHEAD:
        yield Finding("clock", "problem", f"the newest string is {late:.0f} s ahead of this clock; set it, with NTP")
    else:
        yield Finding("clock", "ok", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()))


def _disk(file: Path) -> Iterator[Finding]:
    folder = file.parent
    if not os.access(folder, os.W_OK):
        yield Finding("disk", "problem", f"the folder of {file.name} cannot be written")
        return
    log = files.part(file, "-wal")
    size = log.stat().st_size if log.exists() else 0
    if size >= log_watch.LARGE_LOG_BYTES:
        yield Finding("outbox", "warning", log_watch.warning(file, size))
    free = shutil.disk_usage(folder).free
    yield Finding("disk", "ok" if free >= LEAST_FREE else "problem", f"{free // 2**20} MiB are free for {file.name}")


def _integrity(file: Path) -> Finding:
    try:
        with contextlib.closing(database.connect(file, create=False)) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found == "ok":
        return Finding("outbox", "ok", f"{file.name} is whole")
    return Finding("outbox", "problem", f"{file.name} is damaged ({found}); keep a copy, and restore a backup")


async def _targets(config: Config) -> list[Finding]:
    deny = config.delivery.deny_networks

    async def look(number: int) -> Finding:
        target = config.targets[number]
        reason = await reach(target, deny, REACH)
        what = f"target/{number}"
        if reason:
            return Finding(what, "problem" if target.enabled else "warning", reason)
        through = "its proxy is reached" if target.proxy else "is reached"
        return Finding(what, "ok", through)

    return await asyncio.gather(*(look(number) for number in sorted(config.targets)))
