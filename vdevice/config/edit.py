"""Changes to `vdevice.toml` that keep its comments and order: one target at a time, its secrets write-only. Pure text to text.

What an editor sees of a target is its table as it stands in the file, with each secret replaced by KEPT; what it sends back
with KEPT in it keeps what the file has there.
"""

import copy
import hashlib
from collections.abc import Sequence
from typing import Any

import tomlkit
from tomlkit.items import InlineTable, Table

from vdevice.config.load import number_of, shaped
from vdevice.config.ownership import KEPT, Settings
from vdevice.config.redact import SECRETS
from vdevice.config.schema import CHAT

_SECRETS = [key for key in SECRETS if key not in {"url", "headers"}]
"""The settings that are secrets whatever the method is."""


Change = tuple[int, Settings | None, int | None]
"""A target's number, its settings, and whose secrets KEPT stands for."""


def tag_of(text: str) -> str:
    """Return what tells this content of the file from any other: its entity tag."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def settings_of(text: str, number: int, *, viewer: bool = False) -> Settings | None:
    """Return the settings of a target as they stand in the file, without its secrets; None where it is not in there.

    For a viewer the URL is one of them: its path and query often hold a key.
    """
    raw = raw_of(text, number)
    if raw is None:
        return None
    shown = copy.deepcopy(raw)
    places = _secret_places(shown)
    if viewer and "url" in shown:
        places.append((shown, "url"))
    for table, key in places:
        if isinstance(table[key], str):
            table[key] = dict(KEPT)
    return shown


def with_target(text: str, number: int, settings: Settings | None, source: int | None = None) -> str:
    """Return the file with another target, or without it where `settings` is None.

    KEPT in `settings` is what target `source` has there, by default the target itself. Raises ConfigError for a text that is
    no TOML, KeyError where there is nothing to keep.
    """
    return with_targets(text, [(number, settings, source)])


def with_targets(text: str, changes: Sequence[Change]) -> str:
    """Return the file with several targets changed, as `with_target` does; it is parsed and written once."""
    raw = {number_of(key): table for key, table in shaped(text).get("targets", {}).items()}
    document = tomlkit.parse(text)
    targets = document.get("targets")
    if targets is None:
        targets = tomlkit.table(is_super_table=True)
        document["targets"] = targets
    names = {number_of(key): key for key in targets}
    for number, settings, source in changes:
        name = names.get(number, str(number))
        if settings is None:
            targets.pop(name, None)
            continue
        kept = raw.get(number if source is None else source, {})
        if settings.get("url") == KEPT and kept.get("method") in CHAT and settings.get("method") not in CHAT:
            # With another method the URL would be shown.
            raise KeyError("url")
        wanted = _filled(settings, kept)
        if name not in targets:
            targets[name] = tomlkit.table()
        update(targets[name], wanted)
    return tomlkit.dumps(document)


def raw_of(text: str, number: int) -> Settings | None:
    """Return the table of a target as it stands in the file, with its secrets; None where it is not in there."""
    for key, table in shaped(text).get("targets", {}).items():
        if number_of(key) == number:
            return dict(table)
    return None


def _secret_places(table: Settings) -> list[tuple[Settings, str]]:
    places = [(table, key) for key in _SECRETS if key in table]
    if table.get("method") in CHAT and "url" in table:
        places.append((table, "url"))
    headers = table.get("headers")
    return places + ([(headers, key) for key in headers] if isinstance(headers, dict) else [])


def _filled(settings: Settings, kept: Settings) -> Settings:
    filled = {}
    for key, value in settings.items():
        if value == KEPT:
            filled[key] = kept[key]
        elif isinstance(value, dict) and key == "headers":
            filled[key] = _filled(value, kept.get(key, {}))
        else:
            filled[key] = value
    return filled


def update(table: Table | InlineTable, wanted: Settings) -> None:
    """Change what differs, and nothing else: comments beside what stays, stay."""
    for key in [key for key in table if key not in wanted]:
        del table[key]
    for key, value in wanted.items():
        there = table.get(key)
        if isinstance(there, Table | InlineTable) and isinstance(value, dict):
            update(there, value)
        elif there is not value and (there is None or _plain(there) != value):
            table[key] = item_of(value)


def _plain(item: Any) -> Any:  # noqa: ANN401 (any TOML value)
    return item.unwrap() if hasattr(item, "unwrap") else item


def item_of(value: Any) -> Any:  # noqa: ANN401 (any TOML value)
    """Return a value as a person would write it."""
    if isinstance(value, dict):
        inline = tomlkit.inline_table()
        inline.update(value)
        return inline
    if isinstance(value, list) and value and isinstance(value[0], list):
        rows = tomlkit.array()
        for row in value:
            rows.append(row)
        return rows.multiline(multiline=len(value) > 1)
    if isinstance(value, str) and "\n" in value.strip("\n") and "\r" not in value:
        # TOML reads each line end in such a string as \n, so that a text with \r stands in one line with escapes.
        return tomlkit.string(value, multiline=True)
    return tomlkit.item(value)
