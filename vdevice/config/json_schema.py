"""The JSON Schema of `vdevice.toml` (2020-12), made from its structs."""

from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from vdevice.config.load import SECTIONS
from vdevice.config.schema import Listen, Network, Point, Rule, Target
from vdevice.config.secret import Secret

_TEXT = {"type": "string"}
_SECRET = {
    "anyOf": [
        _TEXT,
        {"type": "object", "properties": {"env": _TEXT}, "required": ["env"], "additionalProperties": False},
        {"type": "object", "properties": {"file": _TEXT}, "required": ["file"], "additionalProperties": False},
    ]
}
_OWN: dict[type, dict[str, Any]] = {
    Listen: {**_TEXT, "pattern": "^.+:[0-9]+$"},
    Network: _TEXT,
    Path: _TEXT,
    ZoneInfo: _TEXT,
    Secret: _SECRET,
}
_REF = "#/$defs/{name}"


def json_schema() -> dict[str, Any]:
    """Return the schema of the whole file."""
    kinds = (*SECTIONS.values(), Target, Point, Rule)
    _, definitions = msgspec.json.schema_components(kinds, schema_hook=_custom, ref_template=_REF)
    for definition in definitions.values():
        if definition.get("type") == "object" and "properties" in definition:
            definition["additionalProperties"] = False
            definition.pop("title", None)
    target = definitions["Target"]
    del target["properties"]["number"]
    target["required"].remove("number")
    sections = {name: {"$ref": _REF.format(name=kind.__name__)} for name, kind in SECTIONS.items()}
    numbers = {
        "type": "object",
        "patternProperties": {"^0*([1-9]|[1-5][0-9]|6[0-4])$": {"$ref": _REF.format(name="Target")}},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "vdevice.toml",
        "type": "object",
        "properties": {
            **sections,
            "targets": {**numbers, "additionalProperties": False},
            "points": {"type": "array", "items": {"$ref": _REF.format(name="Point")}},
            "rules": {"type": "array", "items": {"$ref": _REF.format(name="Rule")}},
        },
        "additionalProperties": False,
        "$defs": definitions,
    }


def _custom(kind: type) -> dict[str, Any]:
    if kind not in _OWN:
        raise NotImplementedError
    return _OWN[kind]
