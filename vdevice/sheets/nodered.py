"""Node-RED: a flow that writes a string to a target and reads what became of it, with node-red-contrib-modbus.

https://flows.nodered.org/node/node-red-contrib-modbus : `modbus-write` with the type MHoldingRegisters takes an array of
registers as payload, `modbus-getter` reads when it gets a message. Import it by *Menu → Import*.
"""

import json
from typing import Any

from vdevice.config import Config, Target
from vdevice.registers import text
from vdevice.registers.layout import LONGEST_WRITE, TARGET_STATUS
from vdevice.sheets import tags

_STATUS_ROWS = 49
"""Status registers that the flow reads: up to refused. What is text among them is left out."""

_ENCODE = """\
// {how}
const text = String(msg.payload);
{bytes}
if (bytes === null) {{ node.error("a character that {charset} does not have", msg); return null; }}
if (bytes.length > {longest}) {{ node.error("longer than one write ({longest} bytes)", msg); return null; }}
const data = Buffer.alloc({size});  // NULs behind the text: modbus-write takes its whole quantity
bytes.copy(data);
const registers = [];
for (let i = 0; i < data.length; i += 2) registers.push(data.readUInt16{order}(i));
return {{ payload: registers }};
"""

_BYTES = {
    "utf-8": 'const bytes = Buffer.from(text, "utf8");',
    "utf-16-le": 'const bytes = Buffer.from(text, "utf16le");',
    "utf-16-be": 'const bytes = Buffer.from(text, "utf16le").swap16();',
}
_ONE_BYTE = """\
const known = {known};
const codes = Array.from(text, c => known.indexOf(c));
const bytes = codes.includes(-1) ? null : Buffer.from(codes);"""

_DECODE = """\
const r = msg.payload;
msg.payload = {fields};
msg.payload.done = msg.payload.accepted_seq === msg.payload.finished_seq && msg.payload.queued === 0;
return msg;
"""


def render(config: Config | None) -> str:
    """Return the flow as a JSON array of nodes, a row for each target that takes its strings in one request."""
    targets = tags.targets_of(config) if config else {1: None}
    host, port, unit = tags.reach(config)
    nodes = [_tab(), _client(host, port, unit)]
    for row, (number, target) in enumerate(targets.items()):
        if target is None or (target.format in {"nul", "fixed"} and target.completion in {"request", "content"}):
            nodes += _row(number, target, unit, 80 + 100 * row)
    return json.dumps(nodes, indent=1, ensure_ascii=False) + "\n"


def _tab() -> dict[str, Any]:
    return {"id": "vdevice.flow", "type": "tab", "label": "vdevice", "disabled": False, "info": ""}


def _client(host: str, port: int, unit: int) -> dict[str, Any]:
    return {
        "id": "vdevice.client", "type": "modbus-client", "name": "vdevice", "clienttype": "tcp", "bufferCommands": True,
        "stateLogEnabled": False, "queueLogEnabled": False, "failureLogEnabled": True, "tcpHost": host, "tcpPort": port,
        "tcpType": "DEFAULT", "serialPort": "/dev/ttyUSB", "serialType": "RTU-BUFFERD", "serialBaudrate": 9600,
        "serialDatabits": 8, "serialStopbits": 1, "serialParity": "none", "serialConnectionDelay": 100,
        "serialAsciiResponseStartDelimiter": "0x3A", "unit_id": unit, "commandDelay": 1, "clientTimeout": 1000,
        "reconnectOnTimeout": True, "reconnectTimeout": 2000, "parallelUnitIdsAllowed": True, "showErrors": False,
        "showWarnings": True, "showLogs": True,
    }  # fmt: skip


def _row(number: int, target: Target | None, unit: int, y: int) -> list[dict[str, Any]]:
    coding = text.coding_of(target)
    name = f"{number} {target.description}" if target and target.description else f"target/{number}"
    how = f"target/{number}: {coding.charset}, first character in the {'low' if coding.byte_order == 'little' else 'high'} byte"
    encode = _ENCODE.format(
        how=how,
        bytes=_bytes(coding.charset),
        charset=coding.charset,
        longest=tags.longest_write(target),
        size=2 * LONGEST_WRITE,
        order="LE" if coding.byte_order == "little" else "BE",
    )
    fields = ", ".join(
        f"{row.name}: {_field(row.offset, row.count)}"
        for row in TARGET_STATUS
        if row.kind in {"enum", "uint16", "uint32"}
    )
    ids = {
        part: f"vdevice.{number}.{part}" for part in ("inject", "encode", "write", "poll", "read", "decode", "debug")
    }
    common = {"z": "vdevice.flow"}
    modbus = {
        **common, "showStatusActivities": True, "showErrors": True, "showWarnings": True, "unitid": str(unit),
        "server": "vdevice.client", "emptyMsgOnFail": False, "keepMsgProperties": False, "delayOnStart": False,
        "startDelayTime": "",
    }  # fmt: skip
    return [
        {**common, "id": ids["inject"], "type": "inject", "name": name, "props": [{"p": "payload"}], "repeat": "",
         "crontab": "", "once": False, "onceDelay": 0.1, "topic": "", "payload": "Hello from Node-RED", "payloadType": "str",
         "x": 160, "y": y, "wires": [[ids["encode"]]]},
        {**common, "id": ids["encode"], "type": "function", "name": "text to registers", "func": encode, "outputs": 1,
         "timeout": 0, "noerr": 0, "initialize": "", "finalize": "", "libs": [], "x": 350, "y": y, "wires": [[ids["write"]]]},
        {**modbus, "id": ids["write"], "type": "modbus-write", "name": f"write {1000 * number}",
         "dataType": "MHoldingRegisters", "adr": str(1000 * number), "quantity": str(LONGEST_WRITE), "x": 540, "y": y,
         "wires": [[ids["read"]], []]},
        {**common, "id": ids["poll"], "type": "inject", "name": "poll", "props": [{"p": "payload"}], "repeat": "1",
         "crontab": "", "once": False, "onceDelay": 0.1, "topic": "", "payload": "", "payloadType": "date", "x": 540,
         "y": y + 40, "wires": [[ids["read"]]]},
        {**modbus, "id": ids["read"], "type": "modbus-getter", "name": f"status {1000 * number}", "logIOActivities": False,
         "dataType": "InputRegister", "adr": str(1000 * number), "quantity": str(_STATUS_ROWS), "useIOFile": False,
         "ioFile": "", "useIOForPayload": False, "enableDeformedMessages": False, "x": 720, "y": y,
         "wires": [[ids["decode"]], []]},
        {**common, "id": ids["decode"], "type": "function", "name": "what became of it", "func": _DECODE.format(
            fields="{" + fields + "}"), "outputs": 1, "timeout": 0, "noerr": 0, "initialize": "", "finalize": "", "libs": [],
         "x": 910, "y": y, "wires": [[ids["debug"]]]},
        {**common, "id": ids["debug"], "type": "debug", "name": name, "active": True, "tosidebar": True, "console": False,
         "tostatus": False, "complete": "payload", "targetType": "msg", "statusVal": "", "statusType": "auto", "x": 1100,
         "y": y, "wires": []},
    ]  # fmt: skip


def _field(offset: int, count: int) -> str:
    return f"r[{offset}]" if count == 1 else f"r[{offset}] * 65536 + r[{offset + 1}]"


def _bytes(charset: str) -> str:
    """Return the JavaScript that makes the bytes of a text, null where a character is none of the charset's."""
    if charset in _BYTES:
        return _BYTES[charset]
    # U+FFFD stands for the bytes that mean nothing; a text does not hold it.
    known = bytes(range(256)).decode(charset, "replace")
    return _ONE_BYTE.format(known=json.dumps(known))
