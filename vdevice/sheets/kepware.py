"""Kepware KEPServerEX: a tag list for *Import CSV* below a Modbus device.

https://support.ptc.com/help/kepware/drivers/en/kepware/drivers/MODBUS/Address_Descriptions__Modbus.html : six-digit
references; strings end in `.<bytes>H` (first character in the high byte) or `L`, at most 240 bytes; bits in `.<bit>`.
"""

import csv
import io

from vdevice.config import Config
from vdevice.sheets import tags
from vdevice.sheets.tags import COIL, DISCRETE, Tag

HEADER = (
    "Tag Name", "Address", "Data Type", "Respect Data Type", "Client Access", "Scan Rate", "Scaling", "Raw Low", "Raw High",
    "Scaled Low", "Scaled High", "Scaled Data Type", "Clamp Low", "Clamp High", "Eng Units", "Description", "Negate Value",
)  # fmt: skip

LONGEST_STRING = 240
_TYPES = {
    "bool": "Boolean", "int16": "Short", "uint16": "Word", "enum": "Word", "bits": "Word", "int32": "Long",
    "uint32": "DWord", "int64": "LLong", "float32": "Float", "float64": "Double", "string": "String",
}  # fmt: skip
_RANGES = {
    "int16": (-32768, 32767), "uint16": (0, 65535), "int32": (-2147483648, 2147483647), "uint32": (0, 4294967295),
}  # fmt: skip
_ACCESS = {"read": "RO", "write": "WO", "read/write": "R/W"}
SCAN = 1000
"""Milliseconds between two reads."""


def render(config: Config | None) -> str:
    """Return the CSV of the points, and of the text and status of each target."""
    targets = tags.targets_of(config)
    found = [*tags.device_tags(mirror=False), *tags.point_tags(config), *tags.discrete_tags(targets)]
    for number, target in targets.items():
        found += [*tags.text_tags(number, target), *tags.target_status_tags(number, mirror=False)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(_row(tag) for tag in found if tag.kind)
    return out.getvalue()


def _row(tag: Tag) -> tuple[str | int | float, ...]:
    scaled = _scaling(tag)
    return (
        name_of(tag), _address(tag), _TYPES.get(tag.kind, "String"), 1, _ACCESS[tag.access], SCAN, *scaled, tag.unit,
        " ".join(tag.meaning.split()), "",
    )  # fmt: skip


def name_of(tag: Tag) -> str:
    """Return a name of letters, digits and blanks, in groups divided by dots."""
    return "".join(c if c.isalnum() or c in " _-." else "_" for c in tag.name).strip(" .") or "tag"


def _address(tag: Tag) -> str:
    if tag.space in {COIL, DISCRETE}:
        return f"{tag.reference:06d}"
    if tag.bit is not None:
        return f"{tag.reference}.{tag.bit:02d}"
    if tag.is_text:
        return f"{tag.reference}.{min(2 * tag.count, LONGEST_STRING)}{'L' if tag.byte_order == 'little' else 'H'}"
    return str(tag.reference)


def _scaling(tag: Tag) -> tuple[str | int | float, ...]:
    if not tag.is_scaled or tag.kind not in _RANGES:
        return ("",) * 8
    low, high = _RANGES[tag.kind]
    ends = (low * tag.scale + tag.offset, high * tag.scale + tag.offset)
    return ("Linear", low, high, f"{ends[0]:.10g}", f"{ends[1]:.10g}", "Double", 0, 0)
