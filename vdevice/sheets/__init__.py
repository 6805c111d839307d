"""The register map for people and their tools: a sheet to print, and files that SCADA systems and PLCs import.

Rules of this room: pure; a config goes in, or None for the map of every device, and text comes out. `tags` says what there
is, once; each format is a module, preceded by the page of its tool that it follows.
"""

from collections.abc import Callable

from vdevice.config import Config
from vdevice.sheets import homeassistant, ignition, kepware, nodered, plc, printed

FORMATS: dict[str, Callable[[Config | None], str]] = {
    "md": printed.to_markdown,
    "csv": printed.to_csv,
    "json": printed.to_json,
    "kepware": kepware.render,
    "ignition": ignition.render,
    "homeassistant": homeassistant.render,
    "nodered": nodered.render,
    "st": plc.structured_text,
    "scl": plc.scl,
}
"""What `vdevice map --format` knows."""
