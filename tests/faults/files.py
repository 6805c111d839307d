"""Files that others read and write: a log that nobody reads, a certificate that is written while the device reads it."""

import asyncio
import contextlib
import os
import random
import ssl
import sys
from pathlib import Path

from tests import seeds
from tests.faults.plant import Plant, Row
from tests.faults.receiver import Receiver
from tests.support import free_port, peer
from vdevice.cli.certs import init

PIPE = 1 << 16
"""Bytes that a pipe holds."""


async def leave_the_log_unread(folder: Path, tries: int) -> Row:
    log = folder / "unread"
    os.mkfifo(log)
    source = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    command = ("sh", "-c", f'exec {sys.executable} -m vdevice "$@" >{log} 2>&1', "vdevice")
    async with Receiver().serve() as receiver, Plant(folder, receiver, command=command).running() as plant:
        for _ in range(tries):
            # Two lines each, several times what the pipe holds.
            await plant.under_load(600)
            await plant.recovered()
            read = 0
            with contextlib.suppress(BlockingIOError):
                while read < PIPE // 2:
                    read += len(os.read(source, PIPE))
            assert read >= PIPE // 2, "the pipe was full"
    os.close(source)
    return plant.judged("log that nobody reads", tries)


async def rewrite_the_certificate(folder: Path, tries: int) -> Row:
    """Write the listener's certificate and key in place, byte by byte and with pauses; clients connect all the time."""
    lots = seeds.lots("rewrite_the_certificate")
    for name in ("one", "other"):
        init(folder / name, role=["plc"])
    init(folder / "used", role=["plc"])
    new = {
        name: [(folder / name / file).read_bytes() for file in ("server.pem", "server.key")]
        for name in ("one", "other")
    }
    serials = {name: _der(folder / name / "server.pem") for name in ("one", "other", "used")}
    tls = ssl.create_default_context(cafile=folder / "used/ca.pem")
    for name in ("one", "other"):
        tls.load_verify_locations(folder / name / "ca.pem")
    tls.load_cert_chain(folder / "used/client-plc.pem", folder / "used/client-plc.key")
    address = f"127.0.0.1:{free_port()}"
    settings = (
        f'[modbus.tls]\nlisten = "{address}"\ncert = "used/server.pem"\nkey = "used/server.key"\n'
        'client_ca = "used/ca.pem"\n'
    )
    wrong, shown = 0, serials["used"]
    async with Receiver().serve() as receiver, Plant(folder, receiver, settings).running() as plant:
        for number in range(tries):
            name = ("one", "other")[number % 2]
            files = list(zip((folder / "used/server.pem", folder / "used/server.key"), new[name], strict=True))
            lots.shuffle(files)
            writing = asyncio.create_task(_write_slowly(files, lots))
            async with asyncio.timeout(60):
                while shown != serials[name]:
                    before, was_written = shown, writing.done()
                    shown = await _shown(address, tls)
                    # The old one until the new one is whole; of either the certificate that fits its key.
                    wrong += shown != before and ((not was_written and not writing.done()) or shown != serials[name])
                    await asyncio.sleep(0.01)
            await writing
            await plant.under_load()
            await plant.recovered()
    assert "Traceback" not in plant.log()
    assert plant.log().count("config refused") >= tries, "half a certificate was tried, and refused"
    return plant.judged("certificate replaced byte by byte", tries, wrong)


async def _write_slowly(files: list[tuple[Path, bytes]], lots: random.Random) -> None:
    """Write files in place, byte by byte; now and then leave one as it is for so long that it seems to be done."""
    for path, content in files:
        pause = lots.randrange(len(content))
        with path.open("r+b", buffering=0) as file:
            file.truncate()
            for place in range(len(content)):
                file.write(content[place : place + 1])
                await asyncio.sleep(2.2 if place == pause else 0)


async def _shown(address: str, tls: ssl.SSLContext) -> bytes:
    """Connect, read a register, and return the certificate that the device showed."""
    async with peer(address, tls) as plc:
        await plc.inputs(0, 1)
        found: ssl.SSLObject = plc.writer.get_extra_info("ssl_object")
        return found.getpeercert(binary_form=True) or b""


def _der(pem: Path) -> bytes:
    text = pem.read_text()
    end = "-----END CERTIFICATE-----"
    return ssl.PEM_cert_to_DER_cert(text[: text.index(end) + len(end)])
