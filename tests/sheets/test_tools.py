"""Each file against what its own tool documents."""

import csv
import io
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import playwright
import pytest
import yaml

from tests.config.test_load import FOLDER
from vdevice import sheets
from vdevice.config.load import parse
from vdevice.registers import text
from vdevice.sheets import tags

CONFIG = parse(
    """
    [modbus]
    listen = "10.0.0.9:502"
    unit_id = 3
    [[points]]
    name = "boiler temp. 1"
    space = "holding"
    address = 100
    type = "float32"
    word_order = "little"
    unit = "°C"
    [[points]]
    name = "level"
    space = "holding"
    address = 110
    type = "int16"
    scale = 0.1
    offset = -5
    [[points]]
    name = "fault"
    space = "holding"
    address = 111
    type = "bool"
    bit = 3
    [[points]]
    name = "burner"
    space = "coil"
    address = 5
    type = "bool"
    [[points]]
    name = "note"
    space = "holding"
    address = 120
    type = "string"
    length = 20
    byte_order = "little"
    [[points]]
    name = "big"
    space = "holding"
    address = 150
    type = "int64"
    [targets.3]
    description = "S7, \\"quoted\\" (* not a comment *)"
    method = "get"
    url = "http://x/"
    format = "s7-string"
    completion = "content"
    [targets.7]
    description = "Boiler"
    method = "get"
    url = "http://x/"
    byte_order = "little"
    [targets.8]
    method = "get"
    url = "http://x/"
    completion = "commit"
    """,
    FOLDER,
)


def test_every_format_has_the_generic_map_too() -> None:
    for render in sheets.FORMATS.values():
        assert render(None)
        assert render(CONFIG)


# https://support.ptc.com/help/kepware/drivers/en/kepware/drivers/MODBUS/Address_Descriptions__Modbus.html
KEPWARE = (
    "Tag Name,Address,Data Type,Respect Data Type,Client Access,Scan Rate,Scaling,Raw Low,Raw High,Scaled Low,Scaled High,"
    "Scaled Data Type,Clamp Low,Clamp High,Eng Units,Description,Negate Value"
)
KEPWARE_ADDRESSES = {
    "Boolean": r"[01]\d{5}|4\d{5}\.(0\d|1[0-5])",
    "String": r"[34]\d{5}\.\d{1,3}[HL]",
    "Word": r"[34]\d{5}", "Short": r"4\d{5}", "DWord": r"[34]\d{5}", "Float": r"4\d{5}", "LLong": r"4\d{5}",
}  # fmt: skip


def test_kepware_takes_header_addresses_and_types() -> None:
    out = sheets.FORMATS["kepware"](CONFIG)
    assert out.splitlines()[0] == KEPWARE
    rows = {row["Tag Name"]: row for row in csv.DictReader(io.StringIO(out))}
    assert len(rows) == len(out.splitlines()) - 1
    for name, row in rows.items():
        assert re.fullmatch(r"[\w .-]+", name)
        assert re.fullmatch(KEPWARE_ADDRESSES[row["Data Type"]], row["Address"]), row
        assert row["Client Access"] in {"RO", "WO", "R/W"}
        if row["Data Type"] == "String":
            assert 2 <= int(re.findall(r"\.(\d+)", row["Address"])[0]) <= 240
    assert rows["boiler temp. 1"]["Address"] == "400101"
    assert rows["note"]["Address"] == "400121.40L"
    assert rows["target_7.text"]["Address"] == "407001.240L"
    assert (rows["level"]["Scaling"], rows["level"]["Scaled Low"], rows["level"]["Scaled High"]) == (
        "Linear", "-3281.8", "3271.7",
    )  # fmt: skip


# https://docs.inductiveautomation.com/docs/8.3/ignition-modules/opc-ua/opc-ua-drivers/modbus/modbus-addressing
IGNITION_PATH = re.compile(r"ns=1;s=\[vdevice\]3\.(?:(C|DI)|(HR|IR)(US|UI|I_64|I|F|D|S)?)(\d+)(?::(\d+)|\.(\d+))?")
IGNITION_TYPES = {"": "Int2", "US": "Int4", "UI": "Int8", "I": "Int4", "I_64": "Int8", "F": "Float4", "D": "Float8"}


def leaves(tree: dict[str, Any]) -> list[dict[str, Any]]:
    if tree["tagType"] == "Folder":
        assert {"name", "tagType", "tags"} <= tree.keys()
        names = [tag["name"] for tag in tree["tags"]]
        assert len(names) == len(set(names)), names
        return [leaf for tag in tree["tags"] for leaf in leaves(tag)]
    return [tree]


def test_ignition_takes_folders_paths_and_types() -> None:
    found = leaves(json.loads(sheets.FORMATS["ignition"](CONFIG)))
    paths = {tag["opcItemPath"] for tag in found}
    assert len(paths) == len(found)
    for tag in found:
        assert (tag["tagType"], tag["valueSource"], tag["opcServer"]) == ("AtomicTag", "opc", "Ignition OPC UA Server")
        parts = IGNITION_PATH.fullmatch(tag["opcItemPath"])
        assert parts, tag["opcItemPath"]
        bits, _area, suffix, _place, length, bit = parts.groups()
        if bits or bit:
            assert tag["dataType"] == "Boolean"
        elif suffix == "S":
            assert tag["dataType"] == "String"
            assert 2 <= int(length) <= 246
        else:
            assert tag["dataType"] == ("Float8" if "scaleMode" in tag else IGNITION_TYPES[suffix or ""])
    assert "boiler temp_ 1" in {tag["name"] for tag in found}
    assert "ns=1;s=[vdevice]3.HRS7001:246" in paths
    assert "ns=1;s=[vdevice]3.HR112.3" in paths
    assert "ns=1;s=[vdevice]3.IRUI7003" in paths


# https://www.home-assistant.io/integrations/modbus/
HA_KEYS = {
    "sensors": {
        "name", "unique_id", "address", "slave", "input_type", "data_type", "count", "swap", "scale", "offset", "precision",
        "unit_of_measurement",
    },
    "binary_sensors": {"name", "unique_id", "address", "slave", "input_type"},
    "switches": {"name", "unique_id", "address", "slave", "write_type", "command_on", "command_off"},
}  # fmt: skip
HA_TYPES = {"int16", "int32", "int64", "uint16", "uint32", "uint64", "float16", "float32", "float64", "string"}


def test_home_assistant_takes_keys_and_values() -> None:
    (hub,) = yaml.safe_load(sheets.FORMATS["homeassistant"](CONFIG))["modbus"]
    assert {key: hub[key] for key in ("name", "type", "host", "port")} == {
        "name": "vdevice", "type": "tcp", "host": "10.0.0.9", "port": 502,
    }  # fmt: skip
    ids = [entry["unique_id"] for key in HA_KEYS for entry in hub[key]]
    assert len(ids) == len(set(ids))
    for key, known in HA_KEYS.items():
        for entry in hub[key]:
            assert entry.keys() <= known
            assert entry["slave"] == 3
    for entry in hub["sensors"]:
        assert entry["data_type"] in HA_TYPES
        assert entry["input_type"] in {"holding", "input"}
        assert entry.get("swap", "byte") in {"byte", "word", "word_byte"}
        assert ("count" in entry) == (entry["data_type"] == "string")
    assert {entry["input_type"] for entry in hub["binary_sensors"]} == {"discrete_input"}
    by_name = {entry["name"]: entry for entry in hub["sensors"]}
    assert by_name["vdevice boiler temp. 1"]["swap"] == "word"
    assert by_name["vdevice level"]["scale"] == 0.1


# The properties that node-red-contrib-modbus 5.45 declares, and Node-RED 4 for its own nodes.
NODE_KEYS = {
    "modbus-client": {
        "name", "clienttype", "bufferCommands", "stateLogEnabled", "queueLogEnabled", "failureLogEnabled", "tcpHost", "tcpPort",
        "tcpType", "serialPort", "serialType", "serialBaudrate", "serialDatabits", "serialStopbits", "serialParity",
        "serialConnectionDelay", "serialAsciiResponseStartDelimiter", "unit_id", "commandDelay", "clientTimeout",
        "reconnectOnTimeout", "reconnectTimeout", "parallelUnitIdsAllowed", "showErrors", "showWarnings", "showLogs",
    },
    "modbus-write": {
        "name", "showStatusActivities", "showErrors", "showWarnings", "unitid", "dataType", "adr", "quantity", "server",
        "emptyMsgOnFail", "keepMsgProperties", "delayOnStart", "startDelayTime",
    },
    "modbus-getter": {
        "name", "showStatusActivities", "showErrors", "showWarnings", "logIOActivities", "unitid", "dataType", "adr",
        "quantity", "server", "useIOFile", "ioFile", "useIOForPayload", "emptyMsgOnFail", "keepMsgProperties", "delayOnStart",
        "enableDeformedMessages", "startDelayTime",
    },
}  # fmt: skip


def test_node_red_takes_nodes_and_wires() -> None:
    nodes = json.loads(sheets.FORMATS["nodered"](CONFIG))
    ids = {node["id"] for node in nodes}
    assert len(ids) == len(nodes)
    for node in nodes:
        known = NODE_KEYS.get(node["type"])
        if known:
            placed = {"id", "type", "z", "x", "y", "wires"} if node["type"] != "modbus-client" else {"id", "type"}
            assert node.keys() == known | placed
        assert {wire for output in node.get("wires", []) for wire in output} <= ids
    writes = [node for node in nodes if node["type"] == "modbus-write"]
    assert [(node["adr"], node["dataType"], node["unitid"]) for node in writes] == [("7000", "MHoldingRegisters", "3")]
    (decode,) = [node["func"] for node in nodes if node.get("name") == "what became of it"]
    (read,) = [node for node in nodes if node["type"] == "modbus-getter"]
    assert "refused: r[48]" in decode
    assert "error_text" not in decode
    assert int(read["quantity"]) == 49
    (client,) = [node for node in nodes if node["type"] == "modbus-client"]
    assert (client["tcpHost"], client["tcpPort"], client["unit_id"]) == ("10.0.0.9", 502, 3)
    functions = [node["func"] for node in nodes if node["type"] == "function"]
    assert any("readUInt16LE" in function for function in functions)
    assert writes[0]["quantity"] == "123"


NODE = Path(playwright.__file__).parent / "driver" / "node"
"""The Node.js that comes with Playwright."""

TEXTS = ["", "a", "Hi", "8 °C", "Grüße €", "x" * 243, "x" * 244, "x" * 245, "x" * 246, "x" * 247, "ü" * 123, "😀"]
SETTINGS = [
    "", 'byte_order = "little"', 'completion = "content"', 'completion = "content"\nregisters = 5', 'format = "fixed"',
    *(f'encoding = "{name}"' for name in ("ascii", "latin-1", "cp1252", "utf-16-be", "utf-16-le")),
    'encoding = "utf-16-be"\ncompletion = "content"', 'encoding = "cp1252"\nbyte_order = "little"',
]  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS)
def test_what_the_node_red_flow_writes_reads_back_or_is_an_error_of_the_node(settings: str) -> None:
    config = parse(f'[targets.7]\nmethod = "get"\nurl = "http://x/"\n{settings}', FOLDER)
    target = config.targets[7]
    nodes = json.loads(sheets.FORMATS["nodered"](config))
    (encode,) = [node["func"] for node in nodes if node.get("name") == "text to registers"]
    script = (
        "const encode = new Function('msg', 'node', require('fs').readFileSync(0, 'utf8'));"
        "console.log(JSON.stringify(JSON.parse(process.argv[1]).map(text => { const errors = [];"
        "const out = encode({payload: text}, {error: words => errors.push(words)}); return [out && out.payload, errors]; })))"
    )
    run = subprocess.run(
        [NODE, "-e", script, json.dumps(TEXTS)], input=encode, capture_output=True, text=True, check=True
    )
    coding, written = text.coding_of(target), 0
    for sent, (registers, errors) in zip(TEXTS, json.loads(run.stdout), strict=True):
        try:
            size = len(sent.encode(target.encoding))
        except UnicodeEncodeError:
            assert "does not have" in errors[0]
            continue
        if size > tags.longest_write(target):
            assert "longer than one write" in errors[0]
            continue
        written += 1
        assert errors == []
        # modbus-write refuses a payload that is shorter than its quantity.
        assert len(registers) == 123
        data = b"".join(register.to_bytes(2) for register in registers)
        assert text.decode(data, coding) == sent
        if target.completion == "content" and not target.registers:
            assert text.end(text.ordered(data, coding), coding) is not None
    assert written >= 3


def test_the_longest_text_of_a_tag_is_what_one_write_brings() -> None:
    config = parse('[targets.7]\nmethod = "get"\nurl = "http://x/"\ncompletion = "content"\nregisters = 10', FOLDER)
    assert "407001.20H" in sheets.FORMATS["kepware"](config)
    assert "HRS7001:20" in sheets.FORMATS["ignition"](config)
    assert "STRING(20);" in sheets.FORMATS["st"](config)


def test_home_assistant_shows_texts_without_their_nuls() -> None:
    loaded = yaml.safe_load(sheets.FORMATS["homeassistant"](CONFIG))
    raw = {entry["name"]: entry for entry in loaded["modbus"][0]["sensors"] if entry["data_type"] == "string"}
    (templates,) = [group["sensor"] for group in loaded["template"]]
    shown = {entry["name"]: entry["state"] for entry in templates}
    assert raw.keys() == {f"{name} raw" for name in shown}
    state = shown["vdevice target/7.error_text"]
    assert state == r"{{ states('sensor.vdevice_target_7_error_text_raw').split('\x00')[0] }}"


KEYWORDS = ("IF", "CASE", "FOR", "FUNCTION_BLOCK", "VAR")


@pytest.mark.parametrize("form", ["st", "scl"])
def test_snippets_are_whole(form: str) -> None:
    code = sheets.FORMATS[form](CONFIG)
    bare = re.sub(r"\(\*.*?\*\)|//[^\n]*|'[^']*'", "", code, flags=re.DOTALL)
    for word in KEYWORDS:
        opened = len(re.findall(rf"(?<!END_)\b{word}(?:_INPUT|_OUTPUT)?\b", bare))
        assert opened == len(re.findall(rf"\bEND_{word}\b", bare)), word
    assert bare.count("(") == bare.count(")")
    assert "{" not in bare.replace("{ S7_Optimized_Access :=  }", "")


def test_snippets_write_to_a_target_that_fits_them() -> None:
    st, scl = sheets.FORMATS["st"](CONFIG), sheets.FORMATS["scl"](CONFIG)
    assert "offset 7000, length 123" in st
    assert "offset 7958, length 8" in st
    assert "sText    : STRING(246);" in st
    assert "abText[2 * i + 1]), 8) OR BYTE_TO_WORD(abText[2 * i])" in st
    assert "MB_DATA_ADDR := 403001" in scl
    assert "MB_DATA_ADDR := 403959" in scl
    assert "MB_UNIT_ID := 3" in scl
    assert "ADDR[1] := 10" in scl
    assert "CHECK" not in st + scl
    only = parse('[targets.8]\nmethod = "get"\nurl = "http://x/"\ncompletion = "commit"\nformat = "length16"', FOLDER)
    assert 'its format is "length16", not "nul"; it waits for a write to register 8900' in sheets.FORMATS["st"](only)


def test_the_example_of_the_sheet_is_right_for_each_target() -> None:
    for number in CONFIG.targets:
        toml = {number: CONFIG.targets[number]}
        one = type(CONFIG)(**{name: getattr(CONFIG, name) for name in CONFIG.__struct_fields__} | {"targets": toml})
        sheet = sheets.FORMATS["md"](one)
        shown = re.findall(r"`Hi!` is `([0-9A-F ]+)`", sheet)
        assert [text.decode(bytes.fromhex(words), text.coding_of(CONFIG.targets[number])) for words in shown] == ["Hi!"]
        assert f"(reference {400_001 + 1000 * number})" in sheet


def test_the_sheet_names_points_targets_and_rules() -> None:
    sheet = sheets.FORMATS["md"](CONFIG)
    assert (
        "| holding register | 100..101 | 400101 | 2 | boiler temp. 1 | float32 | read/write | °C | low word first |"
        in sheet
    )
    assert "Modbus/TCP, port 502; unit id 3" in sheet
    assert not [line for line in sheet.splitlines() if line.startswith("| coil") and "word" in line]
    assert "then the length in bytes to B + 900" in sheet
    assert "| Boiler |" in sheet
