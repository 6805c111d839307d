"""A config without its secrets, for a copy of it that leaves the machine: order and most comments stay. Pure.

What stands in the file as a string is replaced by an environment variable of a name that says where it stood; what
comes from the environment or a file already stays as it is. A comment that may hold a value, like a setting that was
commented out, is left out.
"""

import copy
import json
import re
import tomllib
from collections.abc import Collection, Iterator
from typing import Any, get_args

import msgspec

from vdevice.config.load import shaped
from vdevice.config.schema import Target
from vdevice.config.secret import Secret
from vdevice.errors import VdeviceError

SECRETS = [field.name for field in msgspec.structs.fields(Target) if Secret in (field.type, *get_args(field.type))]
"""The settings of a target that are secrets, or hold some."""

LEFT_OUT = "# left out"
"""Stands for a comment that may hold a value."""

_PARTS = re.compile(
    r""""{3}(?:\\.|[^\\])*?"{3,5}|'{3}.*?'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|(?P<comment>#[^\r\n]*)""", re.DOTALL
)
"""Strings of TOML, which may hold a #, and its comments."""

_VALUE = re.compile(
    # An assignment, a URL, something quoted;
    r"""[=:"`]"""
    # what follows the name of a secret;
    r"|\b(?:pass\w*|secret|token|key|bearer|credentials?|login|pin|pwd?|kennwort|schl\w+)\b\W+\w"
    # a word that is none.
    r"|[^\s#]{20,}|(?=[^\s#]*[0-9])(?=[^\s#]*[a-z])[^\s#]{8,}",
    re.IGNORECASE,
)


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
    text = _PARTS.sub(lambda part: _without_value(part, names), text)
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


def _without_value(part: re.Match[str], secrets: Collection[str]) -> str:
    comment = part["comment"]
    if comment is None:
        return part[0]
    return LEFT_OUT if _VALUE.search(comment) or any(one in comment for one in secrets if one) else comment


def _places(raw: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield path, table and key of each secret that stands in the file itself."""
    for number, target in raw.get("targets", {}).items():
        for key in SECRETS:
            if isinstance(target.get(key), str):
                yield f"targets.{number}.{key}", target, key
        for key, value in target.get("headers", {}).items():
            if isinstance(value, str):
                yield f"targets.{number}.headers.{key}", target["headers"], key
