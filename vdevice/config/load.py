"""Reads `vdevice.toml` and returns it whole and right, or raises every problem at once."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from vdevice import regular
from vdevice.config import checks, converter
from vdevice.config.decode import decode
from vdevice.config.guard import bounded, guarded, short
from vdevice.config.schema import (
    Attempts,
    Config,
    Delivery,
    Device,
    Files,
    Modbus,
    Outbox,
    Point,
    Rule,
    Target,
    Tls,
    Web,
)
from vdevice.config.secret import text_of
from vdevice.config.sections import check_config
from vdevice.errors import ConfigError, Problem
from vdevice.model import TARGETS

S = TypeVar("S", Target, Outbox, Tls)
K = TypeVar("K", bound=msgspec.Struct)
MOST_BYTES = 2 * 2**20
"""Of the config file: parsing more would take longer than a device may be busy with it."""

MOST_DEEP = 100
"""Tables and lists in each other: as deep as tomlkit, which saves the file, reads them."""

TARGET_FILES = ("tls_ca", "tls_cert", "tls_key")
MOST_DIGITS = 9
"""Of a target's number: Python refuses to read thousands of them."""

OUTBOX_FILES = (*TARGET_FILES, "credentials")

SECTIONS: dict[str, type[msgspec.Struct]] = {
    "device": Device,
    "modbus": Modbus,
    "outbox": Outbox,
    "delivery": Delivery,
    "files": Files,
    "web": Web,
}
LISTS = ("targets", "points", "rules")


def load(path: Path) -> Config:
    """Return the config in `path`.

    Raises ConfigError with all problems, each with its path in the file.
    """
    return parse(read(path), path.resolve().parent)


def parse(text: str, folder: Path) -> Config:
    """Return the config that a TOML text holds; relative paths in it start at `folder`. Raises ConfigError."""
    if len(text.encode("utf-8", "replace")) > MOST_BYTES:
        # The page would save what no start reads.
        raise ConfigError([Problem("", f"is larger than {MOST_BYTES} bytes")])
    raw = tables(text)
    problems = _unknown_sections(raw)
    sections: dict[str, Any] = {}
    for name, kind in SECTIONS.items():
        table = raw.get(name, {})
        if not isinstance(table, dict):
            problems.append(_no_table(name))
            continue
        sections[name] = _decoded(kind, table, name, folder, problems)
    targets = _targets(raw.get("targets", {}), sections.get("delivery") or Delivery(), folder, problems)
    points = _points(raw.get("points", []), folder, problems)
    rules = _rules(raw.get("rules", []), "rules", folder, problems)
    problems.extend(guarded("rules", problems, lambda: converter.check(points, rules, targets)) or [])
    if all(sections.get(name) is not None for name in SECTIONS):
        sections["outbox"] = _with_paths(sections["outbox"], folder, OUTBOX_FILES)
        if (tls := sections["modbus"].tls) is not None:
            sections["modbus"] = msgspec.structs.replace(
                sections["modbus"], tls=_with_paths(tls, folder, ("cert", "key", "client_ca"))
            )
        config = Config(
            folder=folder, targets=targets, points=tuple(points.values()), rules=tuple(rules.values()), **sections
        )
        problems.extend(check_config(config))
        if not problems:
            return config
    raise ConfigError(bounded(problems))


def _decoded(
    kind: type[K],
    table: dict[str, Any],
    path: str,
    folder: Path,
    problems: list[Problem],
    **given: object,
) -> K | None:
    """Return the struct that a table describes, or None with its problems added."""
    found, wrong = guarded(path, problems, lambda: decode(kind, table, path, folder, given)) or (None, [])
    problems.extend(wrong)
    return found


def tables(text: str) -> dict[str, Any]:
    """Return the tables of a TOML text. Raises ConfigError."""
    message = "is nested too deeply; check brackets and dots"
    try:
        raw = tomllib.loads(text)
        if not _is_deep(raw):
            return raw
    except ValueError as error:
        message = f"not TOML: {error}; check quotes and brackets there"
    except RecursionError:
        pass
    raise ConfigError([Problem("", message)])


def _is_deep(raw: dict[str, Any]) -> bool:
    """Tell whether tables and lists are in each other so often that what copies or compares them would not end well."""
    level: list[Any] = [raw]
    for _ in range(MOST_DEEP):
        values = [value for one in level for value in (one.values() if isinstance(one, dict) else one)]
        level = [value for value in values if isinstance(value, dict | list)]
        if not level:
            return False
    return True


def shaped(text: str) -> dict[str, Any]:
    """Return the tables of a TOML text whose targets, headers and rules are tables where they should be. Raises ConfigError."""
    raw = tables(text)
    targets = raw.get("targets", {})
    problems = []
    if not isinstance(targets, dict):
        problems.append(_no_table("targets"))
    for key, table in targets.items() if isinstance(targets, dict) else ():
        path = f"targets.{short(key)}"
        if not isinstance(table, dict):
            problems.append(_no_table(path))
        elif not isinstance(table.get("headers", {}), dict):
            problems.append(_no_table(f"{path}.headers"))
    wrong = _unshaped_rules(raw.get("rules", []), "rules")
    if problems or wrong:
        raise ConfigError(bounded([*problems, *wrong]))
    return raw


def _unshaped_rules(rules: object, path: str) -> list[Problem]:
    if not isinstance(rules, list):
        return [Problem(path, "is no list of tables; write [[rules]]")]
    problems = []
    for index, rule in enumerate(rules):
        if isinstance(rule, dict):
            problems += _unshaped_rules(rule.get("rules", []), f"{path}.{index}.rules")
        else:
            problems.append(_no_table(f"{path}.{index}"))
    return problems


def _no_table(name: str) -> Problem:
    return Problem(name, f"is not a table; write [{name}]")


def outbox_of(text: str, folder: Path) -> Config:
    """Return a config that knows the device's id and its outbox only, whose targets' secrets need not be there.

    Raises ConfigError.
    """
    raw = tables(text)
    for name in ("device", "outbox"):
        if not isinstance(raw.get(name, {}), dict):
            raise ConfigError([_no_table(name)])
    device, wrong = decode(Device, raw.get("device", {}), "device", folder)
    outbox, more = decode(Outbox, raw.get("outbox", {}), "outbox", folder)
    if device is None or outbox is None:
        raise ConfigError([*wrong, *more])
    return Config(
        folder=folder, device=device, modbus=Modbus(), outbox=_with_paths(outbox, folder, OUTBOX_FILES),
        delivery=Delivery(), files=Files(), targets={},
    )  # fmt: skip


def with_outbox(config: Config, url: str) -> Config:
    """Return a config with another outbox; what belongs to NATS only is kept where that stays. Raises ConfigError."""
    given = msgspec.structs.replace(config.outbox, url=url)
    if not given.is_nats:
        given = msgspec.structs.replace(Outbox(), url=url, max_messages=given.max_messages)
    changed = msgspec.structs.replace(config, outbox=given)
    problems = check_config(changed)
    if problems:
        raise ConfigError(problems)
    return changed


def read(path: Path) -> str:
    """Return the text of a config file. Raises ConfigError."""
    try:
        # With universal line ends, as `read_text` has them.
        return text_of(regular.read(path, MOST_BYTES)).replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError:
        message = f"{path.name} is not there; run `vdevice init`, or name another file with --config"
    except OSError as error:
        message = f"{path.name} cannot be read ({error.strerror}); check its permissions"
    except ValueError as error:
        message = f"{path.name} {error}"
    raise ConfigError([Problem("", message)])


def _unknown_sections(raw: dict[str, Any]) -> list[Problem]:
    known = [*SECTIONS, *LISTS]
    return [
        Problem(short(name), f"is not a section; known are {', '.join(known)}") for name in raw if name not in known
    ]


def _targets(raw: Any, delivery: Delivery, folder: Path, problems: list[Problem]) -> dict[int, Target]:
    if not isinstance(raw, dict):
        problems.append(Problem("targets", "is not a table; write [targets.1] to [targets.64]"))
        return {}
    targets: dict[int, Target] = {}
    seen: dict[int, str] = {}
    for key, table in raw.items():
        path = f"targets.{short(key)}"
        number = number_of(key)
        if number not in TARGETS:
            problems.append(Problem(path, "is not a target; write [targets.1] to [targets.64]"))
        elif number in seen:
            problems.append(Problem(path, f"is target {number} again, as targets.{seen[number]}; keep one of them"))
        elif not isinstance(table, dict):
            problems.append(Problem(path, f"is not a table; write [targets.{number}]"))
        else:
            seen[number] = key
            given = {"number": number, **{name: getattr(delivery, name) for name in Attempts.__struct_fields__}}
            target = _decoded(Target, table, path, folder, problems, **given)
            if target is not None:
                targets[number] = _with_paths(target, folder, TARGET_FILES)
                problems.extend(checks.check_target(targets[number]))
    return targets


def number_of(key: str) -> int:
    """Return the number that a key of [targets] is, 0 where it is none."""
    return int(key) if key.isascii() and key.isdigit() and len(key) <= MOST_DIGITS else 0


def _items(raw: Any, path: str, problems: list[Problem]) -> list[tuple[str, dict[str, Any]]]:
    """Return the tables of an array, each with its path."""
    if not isinstance(raw, list) or not all(isinstance(item, dict) for item in raw):
        problems.append(Problem(path, f"is not an array of tables; write [[{path}]]"))
        return []
    return [(f"{path}[{index}]", item) for index, item in enumerate(raw)]


def _points(raw: Any, folder: Path, problems: list[Problem]) -> dict[str, Point]:
    points = {}
    for path, table in _items(raw, "points", problems):
        point = _decoded(Point, table, path, folder, problems)
        if point is not None:
            points[path] = point
    return points


def _rules(raw: Any, path: str, folder: Path, problems: list[Problem]) -> dict[str, Rule]:
    rules = {}
    for place, table in _items(raw, path, problems):
        inner = _rules(table.get("rules", []), f"{place}.rules", folder, problems)
        own = {key: value for key, value in table.items() if key != "rules"}
        rule = _decoded(Rule, own, place, folder, problems, rules=tuple(inner.values()))
        if rule is not None:
            rules[place] = rule
    return rules


def _with_paths(section: S, folder: Path, keys: tuple[str, ...]) -> S:
    files = {key: getattr(section, key) for key in keys}
    return msgspec.structs.replace(section, **{key: folder / file for key, file in files.items() if file})
