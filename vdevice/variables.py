"""The `$` variables of templates: `$VALUE`, `${VALUE}`, `$$`, the longest known name wins, unknown ones stay.

Substitution takes an `escape` for the place where the value lands. Variables inside values are text: nothing is
substituted twice, but for $DESCRIPTION, one level deep.
"""

import difflib
import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from urllib.parse import quote
from zoneinfo import ZoneInfo

from vdevice.config import Config
from vdevice.model import Event

NAMES = (
    "VALUE",
    "PARAMETER",
    "TIMESTAMP",
    "DESCRIPTION",
    "SOURCECONNECTION",
    "SOURCEPARAMETER",
    "SOURCEVALUE",
    "EVENTID",
    "DEVICE",
    "ISOTIME",
)

Escape = Callable[[str, str, str], str]
"""How a value is written where it stands: the value, what is written before it, and the template behind it."""

_LONGEST_FIRST = "|".join(sorted(NAMES, key=len, reverse=True))
_VARIABLE = re.compile(rf"\$(?:(\$)|\{{({_LONGEST_FIRST})\}}|({_LONGEST_FIRST}))")
_LOOKS_LIKE_ONE = re.compile(r"\$(?:\{([^{}$\n]*)\}|([A-Za-z_][A-Za-z0-9_]*))")
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def values_of(config: Config, event: Event, parameter: str, description: str) -> dict[str, str]:
    """Return all variables of an event; `parameter` is what is written to, `description` what stands without a rule's."""
    values = {
        "VALUE": event.value,
        "PARAMETER": parameter,
        "SOURCECONNECTION": event.source_connection,
        "SOURCEPARAMETER": event.source_parameter,
        "SOURCEVALUE": event.source_value,
        "EVENTID": event.id,
        "DEVICE": config.device.id,
        **_moment(int(event.accepted_at), config.device.timezone),
    }
    values["DESCRIPTION"] = substitute(event.description or description, values)
    return values


@functools.lru_cache(maxsize=16)
def _moment(seconds: int, timezone: ZoneInfo) -> dict[str, str]:
    """Return the variables that tell the time; many events share their second."""
    moment = datetime.fromtimestamp(seconds, timezone)
    return {"TIMESTAMP": f"{moment:%Y%m%dT%H:%M:%S}", "ISOTIME": moment.isoformat(timespec="seconds")}


def substitute(template: str, values: Mapping[str, str], escape: Escape | None = None) -> str:
    """Return the template with its variables replaced; a name without a value stays as it is."""
    if "$" not in template:
        return template
    written: list[str] = []
    for piece, name, after in _pieces(template):
        value = values.get(name)
        if value is None:
            written.append(piece)
        else:
            written.append(escape(value, "".join(written), after) if escape else value)
    return "".join(written)


@functools.lru_cache(maxsize=1024)
def _pieces(template: str) -> list[tuple[str, str, str]]:
    """Return a template piece by piece: what stands there without a value, the variable's name or "", and all behind it."""
    pieces, place = [], 0
    for found in _VARIABLE.finditer(template):
        start = found.start()
        if start > place:
            pieces.append((template[place:start], "", ""))
        pieces.append(("$", "", "") if found[1] else (found[0], found[2] or found[3], template[found.end() :]))
        place = found.end()
    if place < len(template):
        pieces.append((template[place:], "", ""))
    return pieces


def substitute_json(document: str, values: Mapping[str, str], escape: Escape | None = None) -> str:
    """Return a JSON document with the variables inside its strings, keys too, replaced; all else stays as written.

    Each string is decoded, substituted and encoded again, so that no value can end its string.
    """

    def replace(found: re.Match[str]) -> str:
        template = json.loads(found[0])
        filled = substitute(template, values, percent_encode if escape and is_url(template) else escape)
        return found[0] if filled == template else json.dumps(filled, ensure_ascii=False)

    return _JSON_STRING.sub(replace, document)


def unknown(template: str) -> Iterator[str]:
    """Yield what looks like a variable in a template and is none: ${…}, capitals, and known names in small letters."""
    for found in _LOOKS_LIKE_ONE.finditer(_VARIABLE.sub("", template)):
        name = found[1] if found[1] is not None else found[2]
        if found[1] is not None or name[0].isupper() or name.upper().startswith(NAMES):
            yield found[0]


def nearest(written: str) -> str:
    """Return the name of the variable that somebody meant who wrote this, or an empty string."""
    return next(iter(difflib.get_close_matches(written.strip("${ }").upper(), NAMES, 1, 0.7)), "")


def has_variables(template: str) -> bool:
    """Tell whether values are filled into a template."""
    return any(not found[1] for found in _VARIABLE.finditer(template))


def percent_encode(value: str, _before: str = "", _after: str = "") -> str:
    """Percent-encode all but the unreserved characters of RFC 3986."""
    return quote(value, safe="", errors="surrogatepass")


def is_url(template: str) -> bool:
    """Tell whether a string of a chat object is a link, in which values are percent-encoded."""
    return template.startswith(("http://", "https://"))
