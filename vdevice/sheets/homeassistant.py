"""Home Assistant: a `modbus:` section for configuration.yaml, with sensors and switches.

https://www.home-assistant.io/integrations/modbus/ : addresses are 0-based; strings are written by the action
modbus.write_register, of which an example is in the file's head. Every value is written as JSON, which YAML contains.
"""

import json
import re
import unicodedata
from collections.abc import Iterator

from vdevice.config import Config
from vdevice.sheets import tags
from vdevice.sheets.tags import COIL, DISCRETE, HOLDING, INPUT, Tag

Entry = dict[str, str | int | float]
_TYPES = {"enum": "uint16", "bits": "uint16", "int16": "int16", "uint16": "uint16", "int32": "int32", "uint32": "uint32",
          "int64": "int64", "float32": "float32", "float64": "float64", "string": "string"}  # fmt: skip
_SWAPS = {("big", "big"): "", ("big", "little"): "byte", ("little", "big"): "word", ("little", "little"): "word_byte"}
"""By word order and byte order."""

STATUS = frozenset(
    {"state", "http_status", "queued", "latency_ms", "error", "error_text", "failed", "delivered", "refused"}
)
"""Registers of a target that are worth a sensor."""

RAW = " raw"
"""Behind the name of a sensor that shows a text with its NULs."""

_HEAD = """\
# Home Assistant: put this into configuration.yaml, with host and port of the device.
# To send a string to target {number}:
#   action: modbus.write_register
#   data: {{hub: vdevice, slave: {unit}, address: {block}, value: {words}}}   # "Hi!"
modbus:
  - name: vdevice
    type: tcp
    host: {host}
    port: {port}
"""


def render(config: Config | None) -> str:
    """Return the YAML."""
    targets = tags.targets_of(config)
    host, port, unit = tags.reach(config)
    number = next(iter(targets), 1)
    head = _HEAD.format(
        number=number, unit=unit, block=1000 * number, words=[0x4869, 0x2100],
        host=json.dumps(host),
        port=port,
    )  # fmt: skip
    points = tags.point_tags(config)
    status = [tag for n in targets for tag in tags.target_status_tags(n, mirror=False) if tag.short_name in STATUS]
    sensors = [_sensor(tag, unit) for tag in (*points, *status) if tag.space in {HOLDING, INPUT} and tag.bit is None]
    binary = [
        _binary(tag, unit) for tag in (*tags.device_tags(), *tags.discrete_tags(targets)) if tag.space == DISCRETE
    ]
    # A binary sensor on a register shows its lowest bit, no other.
    binary += [_binary(tag, unit) for tag in points if tag.bit == 0]
    switches = [_switch(tag, unit) for tag in points if tag.space == COIL]
    lists = {"sensors": sensors, "binary_sensors": binary, "switches": switches}
    modbus = "".join(line for key, entries in lists.items() if entries for line in _list(key, entries))
    texts = [_template(entry) for entry in sensors if entry["data_type"] == "string"]
    return head + modbus + ("template:\n  - sensor:\n" + "".join(_entries(texts)) if texts else "")


def _list(key: str, entries: list[Entry]) -> Iterator[str]:
    yield f"    {key}:\n"
    yield from _entries(entries)


def _entries(entries: list[Entry]) -> Iterator[str]:
    for entry in entries:
        for index, (name, value) in enumerate(entry.items()):
            yield f"      {'- ' if index == 0 else '  '}{name}: {json.dumps(value, ensure_ascii=False)}\n"


def _template(entry: Entry) -> Entry:
    """Return a sensor that shows the text of another one up to its first NUL: Home Assistant shows them all."""
    entity = re.sub(r"[^a-z0-9]+", "_", _plain(str(entry["name"])).lower()).strip("_")
    return {
        "name": str(entry["name"]).removesuffix(RAW), "unique_id": f"{entry['unique_id']}_text",
        "state": f"{{{{ states('sensor.{entity}').split('\\x00')[0] }}}}",
    }  # fmt: skip


def _plain(name: str) -> str:
    """Return a name in ASCII, as far as that goes by leaving out accents; Home Assistant makes the entity's id of it."""
    return unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()


def _common(tag: Tag, unit: int) -> Entry:
    plain = "".join(c if c.isalnum() and c.isascii() else "_" for c in tag.name)
    place = f"{tag.space.split()[0]}_{tag.address}" + (f"_{tag.bit}" if tag.bit is not None else "")
    return {
        "name": f"vdevice {tag.name}", "unique_id": f"vdevice_{plain}_{place}", "address": tag.address, "slave": unit,
    }  # fmt: skip


def _sensor(tag: Tag, unit: int) -> Entry:
    kind = _TYPES.get(tag.kind, "string")
    entry = {**_common(tag, unit), "input_type": "holding" if tag.space == HOLDING else "input", "data_type": kind}
    if kind == "string":
        entry |= {"name": f"{entry['name']}{RAW}", "count": tag.count}
    swap = _SWAPS[tag.word_order, tag.byte_order]
    if swap:
        entry["swap"] = swap
    if tag.is_scaled:
        entry |= {"scale": tag.scale, "offset": tag.offset}
    if tag.unit:
        entry["unit_of_measurement"] = tag.unit
    if kind.startswith("float") or tag.scale != 1:
        entry["precision"] = 3
    return entry


def _binary(tag: Tag, unit: int) -> Entry:
    return {**_common(tag, unit), "input_type": "discrete_input" if tag.space == DISCRETE else "holding"}


def _switch(tag: Tag, unit: int) -> Entry:
    return {**_common(tag, unit), "write_type": "coil", "command_on": 1, "command_off": 0}
