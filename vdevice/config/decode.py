"""One TOML table to one struct, key by key, so that every problem is found and not only the first."""

import difflib
import zoneinfo
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import msgspec

from vdevice.config.guard import LONGEST_KEY, short
from vdevice.config.secret import Secret, resolve
from vdevice.errors import Problem

T = TypeVar("T", bound=msgspec.Struct)

MOST_UNKNOWN = 20
"""Keys of a table that are not settings, of which each gets a problem of its own."""


def decode(
    kind: type[T], raw: dict[str, Any], path: str, folder: Path, given: dict[str, Any] | None = None
) -> tuple[T | None, list[Problem]]:
    """Return the struct that a table describes, or None with all that is wrong in it.

    `path` is the table's own (`targets.7`); `given` are fields that do not come from the table, or their defaults.
    """
    values = dict(given or {})
    problems: list[Problem] = []
    unknown = 0
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    own = {"number", "rules"}
    for key, value in raw.items():
        if key not in fields or key in own:
            unknown += 1
            if unknown <= MOST_UNKNOWN:
                problems.append(Problem(f"{path}.{short(key)}", _unknown(key, set(fields) - own)))
            continue
        values[key], wrong = _convert(fields[key].type, value, f"{path}.{key}", folder)
        problems.extend(wrong)
    if unknown > MOST_UNKNOWN:
        problems.append(Problem(path, f"holds {unknown - MOST_UNKNOWN} more that are not settings; remove them"))
    for name, field in fields.items():
        if field.required and name not in values and name not in raw:
            problems.append(Problem(f"{path}.{name}", f"is missing; write {name} = …"))
    return (None if problems else kind(**values)), problems


def _convert(kind: Any, value: Any, path: str, folder: Path) -> tuple[Any, list[Problem]]:
    if get_origin(kind) is dict and isinstance(value, dict):
        items = {key: _convert(get_args(kind)[1], item, f"{path}.{short(key)}", folder) for key, item in value.items()}
        return {key: item for key, (item, _) in items.items()}, [p for _, wrong in items.values() for p in wrong]
    for choice in (kind, *get_args(kind)):
        if isinstance(value, dict) and isinstance(choice, type) and issubclass(choice, msgspec.Struct):
            return decode(choice, value, path, folder)
    try:
        return msgspec.convert(value, kind, dec_hook=lambda t, v: _custom(t, v, folder)), []
    except msgspec.ValidationError as error:
        words, _, where = str(error).partition(" - at `$")
        return None, [Problem(path + where.rstrip("`"), words + _choices(kind, words))]


def _unknown(key: str, known: set[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1) if len(key) <= LONGEST_KEY else []
    return (
        f"is not a setting; did you mean {near[0]}?"
        if near
        else f"is not a setting; known are {', '.join(sorted(known))}"
    )


def _choices(kind: Any, message: str) -> str:
    choices = [str(choice) for choice in get_args(kind) if isinstance(choice, str)]
    return f"; write one of {', '.join(choices)}" if choices and "enum" in message else ""


def _custom(kind: type, value: Any, folder: Path) -> Any:
    """Convert what msgspec has no type for; ValueError texts become the problem's message."""
    if kind is Secret:
        return resolve(value, folder)
    if not isinstance(value, str):
        raise ValueError(f"Expected `str`, got `{type(value).__name__}`")  # noqa: TRY004 (msgspec reports ValueError)
    if kind is Path and "\0" in value:
        raise ValueError("holds a NUL character, which no file name can")
    try:
        return kind(value)
    except zoneinfo.ZoneInfoNotFoundError:
        raise ValueError(f"{value!r} is not a time zone; write one like Europe/Berlin") from None
