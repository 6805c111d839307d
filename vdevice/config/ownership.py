"""What an admin of the page may do with the machine's secrets: whoever signs in is not the owner of the machine. Pure.

A kept secret goes only where it went before; what is newly taken from a file or a variable comes from one folder, or has a
name with one prefix. Whoever can edit vdevice.toml itself is not held back.
"""

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vdevice.config.redact import SECRETS
from vdevice.config.schema import Web
from vdevice.errors import Problem

KEPT = {"kept": True}
"""Stands for a secret that stays as it is."""

_WAY = ("proxy", "tls_ca", "tls_fingerprint")
"""Settings that say who sees a request on its way: with another proxy or CA, what is kept would be read there."""

_PORTS = {"http": 80, "https": 443}

Settings = dict[str, Any]


def problems(path: str, given: Settings, there: Settings, web: Web, folder: Path) -> list[Problem]:
    """Return why the settings of a target may not be used in the place of those that are there."""
    elsewhere = _leads_elsewhere(given, there)
    found = []
    for name, value, old in _places(given, there):
        if value == KEPT:
            reason = "is not kept where URL, proxy or CA lead elsewhere; write it anew" if elsewhere else ""
        elif isinstance(value, dict) and (elsewhere or value != old):
            reason = _reason(value, web, folder)
        else:
            reason = ""
        if reason:
            found.append(Problem(f"{path}.{name}", reason))
    return found


def _places(given: Settings, there: Settings) -> list[tuple[str, Any, Any]]:
    """Return path, value and the value that is there of each setting that may hold a secret."""
    places = [(key, given[key], there.get(key)) for key in SECRETS if key in given and key != "headers"]
    headers, old = given.get("headers"), there.get("headers")
    for key, value in headers.items() if isinstance(headers, dict) else ():
        places.append((f"headers.{key}", value, old.get(key) if isinstance(old, dict) else None))
    return places


def _leads_elsewhere(given: Settings, there: Settings) -> bool:
    new, old = given.get("url"), there.get("url")
    same = new in (KEPT, old) or (isinstance(new, str) and isinstance(old, str) and _origin(new) == _origin(old))
    return not same or any(given.get(key) not in (KEPT, there.get(key)) for key in _WAY)


def _origin(url: str) -> tuple[str, str, int | None] | str:
    """Return scheme, host and port; a URL that has none is like itself only."""
    try:
        parts = urlsplit(url)
        return parts.scheme.lower(), (parts.hostname or "").rstrip("."), parts.port or _PORTS.get(parts.scheme.lower())
    except ValueError:
        return url


def _reason(value: Settings, web: Web, folder: Path) -> str:
    match value:
        case {"env": str(name)} if not web.secret_env or not name.startswith(web.secret_env):
            allowed = f"only variables that begin with {web.secret_env}" if web.secret_env else "no variable"
            return f"the page may name {allowed}; see web.secret_env, or edit vdevice.toml itself"
        case {"file": str(name)}:
            # Without a look at the disk: links in that folder are the owner's.
            root = os.path.normpath(folder / web.secret_files) if web.secret_files else None
            if root is None or not Path(os.path.normpath(folder / name)).is_relative_to(root):
                allowed = f"only files below {web.secret_files}" if root else "no file"
                return f"the page may name {allowed}; see web.secret_files, or edit vdevice.toml itself"
    return ""
