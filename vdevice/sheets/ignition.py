"""Ignition: a folder of tags for *Import Tags* in the Designer, on a Modbus TCP device named vdevice.

https://docs.inductiveautomation.com/docs/8.3/ignition-modules/opc-ua/opc-ua-drivers/modbus/modbus-addressing : addresses
are 1-based, after the unit id; `HRS<address>:<bytes>` is a string, `.<bit>` a bit.
"""

import json
from typing import Any

from vdevice.config import Config
from vdevice.registers.layout import LONGEST_WRITE
from vdevice.sheets import tags
from vdevice.sheets.tags import COIL, DISCRETE, Tag

DEVICE = "vdevice"
SERVER = "Ignition OPC UA Server"
_AREAS = {"holding register": "HR", "input register": "IR"}
_SUFFIXES = {
    "int16": ("", "Int2"), "uint16": ("US", "Int4"), "enum": ("US", "Int4"), "bits": ("US", "Int4"), "int32": ("I", "Int4"),
    "uint32": ("UI", "Int8"), "int64": ("I_64", "Int8"), "float32": ("F", "Float4"), "float64": ("D", "Float8"),
}  # fmt: skip
"""What follows HR or IR, and the tag's type: large enough for unsigned numbers, which Ignition's types are not."""


def render(config: Config | None) -> str:
    """Return the JSON of a folder with the points and a folder for each target."""
    unit = config.modbus.unit_id if config else 1
    folders = [
        _folder("device", unit, tags.device_tags(mirror=False)),
        _folder("points", unit, tags.point_tags(config)),
    ]
    for number, target in tags.targets_of(config).items():
        found = [
            *tags.text_tags(number, target),
            *tags.discrete_tags({number: target}),
            *tags.target_status_tags(number, mirror=False),
        ]
        folder = _folder(f"target {number}", unit, found)
        if target and target.description:
            folder["documentation"] = target.description
        folders.append(folder)
    tree = {"name": DEVICE, "tagType": "Folder", "tags": [folder for folder in folders if folder["tags"]]}
    return json.dumps(tree, indent=2, ensure_ascii=False) + "\n"


def _folder(name: str, unit: int, found: list[Tag]) -> dict[str, Any]:
    wanted = [tag for tag in found if tag.kind]
    return {"name": name, "tagType": "Folder", "tags": [_tag(tag, unit) for tag in wanted]}


def _tag(tag: Tag, unit: int) -> dict[str, Any]:
    address, kind = _address(tag)
    entry: dict[str, Any] = {
        "name": "".join(c if c.isalnum() or c in " _-" else "_" for c in tag.short_name),
        "tagType": "AtomicTag",
        "valueSource": "opc",
        "opcServer": SERVER,
        "opcItemPath": f"ns=1;s=[{DEVICE}]{unit}.{address}",
        "dataType": kind,
        "readOnly": tag.access == "read",
        "documentation": tag.meaning,
    }
    if tag.unit:
        entry["engUnit"] = tag.unit
    if tag.is_scaled:
        # Two points of the straight line: raw 0 and raw 1.
        entry |= {
            "scaleMode": "Linear", "rawLow": 0, "rawHigh": 1, "scaledLow": tag.offset, "scaledHigh": tag.scale + tag.offset,
            "clampMode": "No_Clamp", "dataType": "Float8",
        }  # fmt: skip
    return entry


def _address(tag: Tag) -> tuple[str, str]:
    """Return the Modbus part of the item path, and the data type."""
    place = tag.address + 1
    if tag.space in {COIL, DISCRETE}:
        return f"{'C' if tag.space == COIL else 'DI'}{place}", "Boolean"
    area = _AREAS[tag.space]
    if tag.bit is not None:
        return f"{area}{place}.{tag.bit}", "Boolean"
    if tag.is_text:
        most = LONGEST_WRITE if tag.access == "write" else tag.count
        return f"{area}S{place}:{2 * min(tag.count, most)}", "String"
    suffix, kind = _SUFFIXES[tag.kind]
    return f"{area}{suffix}{place}", kind
