"""A config without its secrets, for a copy of it that leaves the machine: comments and order stay. Pure.

What stands in the file as a string is replaced by an environment variable of a name that says where it stood; what
comes from the environment or a file already stays as it is.
"""

import copy
import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any, get_args

import msgspec

from vdevice.config.load import shaped
from vdevice.config.schema import Target
from vdevice.config.secret import Secret
from vdevice.errors import VdeviceError

SECRETS = [field.name for field in msgspec.structs.fields(Target) if Secret in (field.type, *get_args(field.type))]
"""The settings of a target that are secrets, or hold some."""


def without_secrets(text: str) -> tuple[str, list[str]]:
    """Return the text of a config without secrets, and the environment variables that it wants instead.

    Raises VdeviceError where a secret cannot be told from other text of the file.
    """
    raw = shaped(text)
    expected = copy.deepcopy(raw)
    names: dict[str, str] = {}
    for path, table, key in _places(expected):
        name = names.setdefault(table[key], re.sub(r"[^A-Z0-9]", "_", f"VDEVICE_{path}".upper()))
        table[key] = {"env": name}
    for value, name in names.items():
        quoted = "|".join(
            re.escape(form) for form in (json.dumps(value, ensure_ascii=False), f'"{value}"', f"'{value}'")
        )
        text = re.sub(rf"(=\s*)(?:{quoted})", lambda found, name=name: f'{found[1]}{{ env = "{name}" }}', text)  # type: ignore[misc]
    if tomllib.loads(text) != expected:
        raise VdeviceError(
            "a secret of the config stands elsewhere in it, too, or is written in a way that cannot be taken out; keep secrets "
            "in the environment or in files, or use --secrets"
        )
    return text, list(names.values())


def _places(raw: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield path, table and key of each secret that stands in the file itself."""
    for number, target in raw.get("targets", {}).items():
        for key in SECRETS:
            if isinstance(target.get(key), str):
                yield f"targets.{number}.{key}", target, key
        for key, value in target.get("headers", {}).items():
            if isinstance(value, str):
                yield f"targets.{number}.headers.{key}", target["headers"], key
