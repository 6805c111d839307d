"""Commands that run a device or talk to one: run, demo, send, status, receive."""

import asyncio
import signal
import ssl
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from vdevice import app as device_app
from vdevice import demo as demo_run
from vdevice import logs, receiver, streams
from vdevice.cli.options import (
    DEFAULT_CONFIG,
    ConfigPath,
    Json,
    TargetNumber,
    console,
    load_if_there,
    new_table,
    print_json,
)
from vdevice.errors import DeviceError, VdeviceError
from vdevice.modbus.client import DeviceClient, connect
from vdevice.model import TARGETS, ErrorCode, TargetStatus
from vdevice.outbox.api import Role
from vdevice.registers import text as texts
from vdevice.registers.layout import LONGEST_WRITE
from vdevice.running import listens_at
from vdevice.sheets.printed import ERRORS
from vdevice.terminal import visible

Host = Annotated[str | None, Parameter(help="Address of the device; the config's own by default.")]
Port = Annotated[int | None, Parameter(validator=Number(gte=1, lte=65535), help="Its Modbus port.")]
UnitId = Annotated[int | None, Parameter(validator=Number(gte=0, lte=255), help="Its unit id.")]
TlsCa = Annotated[
    Path | None, Parameter(help="Speak Modbus/TCP Security; PEM file of who signed the device's certificate.")
]
TlsCert = Annotated[Path | None, Parameter(help="PEM file of the certificate to show, for --tls-ca.")]
TlsKey = Annotated[Path | None, Parameter(help="PEM file of its key; the certificate's file by default.")]
SETTLED = 0.2
"""Seconds after its idle time that an idle string has been stored in."""

ENDED_SECONDS = 1.0
"""How long the process may take to go when the device has ended."""

Format = Annotated[logs.LogFormat, Parameter(env_var="VDEVICE_LOG_FORMAT", help="How log lines look.")]


def run(
    *,
    config: ConfigPath = DEFAULT_CONFIG,
    role: Annotated[
        Role, Parameter(help="device takes strings, dispatcher delivers them; they share a nats:// outbox.")
    ] = "all",
    log_format: Format = "auto",
) -> None:
    """Run the device until Ctrl-C or SIGTERM; SIGHUP makes it read its config again."""
    logs.configure(log_format, detached=True)

    async def work() -> None:
        await device_app.run(config, role)
        streams.leave_within(ENDED_SECONDS)

    device_app.run_loop(work())


def demo(*, once: Annotated[bool, Parameter(negative="", help="Stop after the nine writes.")] = False) -> int:
    """Show all nine methods on this machine: a device, a receiver, and a write to each target."""
    logs.configure(quiet=True, detached=True)
    streams.detach("stdout", _not_printed)
    return device_app.run_loop(demo_run.demo(once=once))


def send(
    number: TargetNumber,
    text: str,
    *,
    wait: Annotated[bool, Parameter(negative="", help="Wait for the outcome; exit 1 if it failed.")] = False,
    seconds: Annotated[float, Parameter(help="How long to wait at most.")] = 30,
    host: Host = None,
    port: Port = None,
    unit: UnitId = None,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: Json = False,
) -> int:
    """Write TEXT to target NUMBER over Modbus, as a PLC would."""
    loaded = load_if_there(config) if host is None or config != DEFAULT_CONFIG else None
    target = loaded.targets.get(number) if loaded else None
    completion = target.completion if target else "request"
    coding = texts.coding_of(target)
    registers = target.registers if target else None
    data = texts.encode_ended(text, coding, registers) if completion == "content" else texts.encode(text, coding)
    if completion == "request" and len(data) > 2 * LONGEST_WRITE:
        raise DeviceError(
            f"the text takes {len(data)} bytes, one FC16 request {2 * LONGEST_WRITE}; set completion of target {number} "
            "to content or commit"
        )

    tls = _tls(tls_ca, tls_cert, tls_key)

    async def work() -> int:
        async with connect(*_address(config, host, port, unit, tls=tls is not None), tls=tls) as client:
            await client.write(number, data, commit=completion == "commit")
            if completion == "idle" and target:
                await asyncio.sleep(target.idle_ms / 1000 + SETTLED)
            status = await client.wait(number, seconds) if wait else await client.target(number)
        if status is None:
            raise DeviceError(f"no outcome within {seconds:g} s; `vdevice status` shows what it waits for")
        if as_json:
            print_json(status)
        elif wait:
            console.print(_outcome(number, status))
        else:
            console.print(f"target/{number}: accepted, {status['queued']} queued")
        return 1 if wait and status["error"] else 0

    return device_app.run_loop(work())


def _outcome(number: int, status: dict[str, int | str]) -> str:
    if not status["error"]:
        return f"target/{number}: delivered, HTTP {status['http_status']}, {status['latency_ms']} ms"
    code = ErrorCode(int(status["error"]))
    return f"target/{number}: failed, {ERRORS[code]}: {visible(str(status['error_text']))}"


def status(
    *,
    host: Host = None,
    port: Port = None,
    unit: UnitId = None,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    everything: Annotated[bool, Parameter(name="--all", negative="", help="Targets without a config, too.")] = False,
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """Show all targets of a device, read over Modbus."""
    tls = _tls(tls_ca, tls_cert, tls_key)
    device, rows, full = device_app.run_loop(_read_status(_address(config, host, port, unit, tls=tls is not None), tls))
    shown = {n: row for n, row in rows.items() if everything or row["state"] or row["accepted"]}
    if as_json:
        print_json({"device": device, "targets": {n: {**row, "full": n in full} for n, row in shown.items()}})
        return
    names = load_if_there(config)
    table = new_table(
        "", "target", "state", "queued", "accepted", "delivered", "failed", "refused", "http", "ms", "last error",
        wrap=("target", "last error"),
    )  # fmt: skip
    for number, row in shown.items():
        target = names.targets.get(number) if names else None
        state = TargetStatus(int(row["state"])).name.lower().replace("_", " ")
        state += ", full" if number in full else ""
        color = "red" if row["error"] else "green" if row["delivered"] else ""
        keys = ("queued", "accepted", "delivered", "failed", "refused", "http_status", "latency_ms")
        cells = [str(row[key]) for key in keys]
        words = [visible(target.description) if target else "", visible(str(row["error_text"]))]
        table.add_row(str(number), words[0], state, *cells, words[1], style=color)
    console.print(table)
    flags = int(device["flags"])
    troubles = [
        words for bit, words in enumerate(("outbox full", "outbox failing", "delivery stopped")) if flags >> bit & 1
    ]
    console.print(
        f"{visible(str(device['device_id']))}: up {device['uptime']} s, {device['queued']} queued, "
        f"{device['connections']} connections, {', '.join(troubles) or 'healthy'}",
    )


async def _read_status(
    address: tuple[str, int, int], tls: ssl.SSLContext | None
) -> tuple[dict[str, int | str], dict[int, dict[str, int | str]], list[int]]:
    async def all_targets(client: DeviceClient) -> dict[int, dict[str, int | str]]:
        return {number: await client.target(number) for number in TARGETS}

    async with connect(*address, tls=tls) as client:
        device = await client.device()
        # A device of map version 1 has no discrete inputs there.
        full = await client.full() if int(device["map_version"]) > 1 else []
        return device, await all_targets(client), full


def _address(config: Path, host: str | None, port: int | None, unit: int | None, *, tls: bool) -> tuple[str, int, int]:
    """Return host, port and unit id: as given, else those of the device that runs with the config, else the config's.

    Raises VdeviceError where no port can be told.
    """
    loaded = load_if_there(config) if host is None or config != DEFAULT_CONFIG else None
    own_host, own_port, own_unit = "127.0.0.1", 802 if tls else 5020, 1
    if loaded:
        secure = loaded.modbus.tls
        listen = secure.listen if tls and secure else loaded.modbus.listen
        own_host, own_port, own_unit = listen.reachable_host, listen.port, loaded.modbus.unit_id
    running = listens_at(config, tls=tls) if host is None and port is None else None
    if running:
        own_host, own_port = running.reachable_host, running.port
    if not port and not own_port:
        raise DeviceError(
            f"{config.name} lets the device take a free port, and no device runs with it here; start it with `vdevice run`, or "
            "say with --port where it listens"
        )
    return host or own_host, port or own_port, own_unit if unit is None else unit


def _tls(ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Return how to speak TLS, or None where no CA is named. Raises VdeviceError."""
    if ca is None:
        if cert or key:
            raise VdeviceError("--tls-cert goes with --tls-ca, which says whose device is trusted; add it")
        return None
    try:
        context = ssl.create_default_context(cafile=ca)
        if cert:
            context.load_cert_chain(cert, key)
    except (OSError, ValueError):
        raise VdeviceError("--tls-ca, --tls-cert or --tls-key is no PEM file of what it is for; check them") from None
    return context


def receive(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(help="0 takes a free one.")] = 9000,
    as_json: Json = False,
) -> None:
    """Print every HTTP request that comes, and answer it with 200."""
    streams.detach("stdout", _not_printed)

    def show(request: receiver.Received) -> None:
        if as_json:
            print_json(request)
        else:
            console.rule()
            console.print(request.text(), soft_wrap=True)

    async def work() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with receiver.serve(host, port, show) as url:
            console.print(f"receiving on {url}, Ctrl-C ends")
            await stop.wait()

    device_app.run_loop(work())


def _not_printed(lines: int) -> bytes:
    return f"({lines} lines were not printed, because nobody read them)\n".encode()
