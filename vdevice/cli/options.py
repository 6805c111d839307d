"""What several commands share: the config's place, the target number, JSON output."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number
from rich import box
from rich.table import Table

from vdevice.config import Config, Target, load
from vdevice.errors import ConfigError, Problem
from vdevice.running import as_running
from vdevice.terminal import Screen, visible, visible_json

ConfigPath = Annotated[Path, Parameter(name="--config", env_var="VDEVICE_CONFIG", help="The config file.")]
TargetNumber = Annotated[int, Parameter(validator=Number(gte=1, lte=64), help="Number of the target, 1 to 64.")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]
DEFAULT_CONFIG = Path("vdevice.toml")

console = Screen()
if not console.is_terminal:
    # In a file or a pipe nothing is folded to the width of a screen that is not there.
    console.width = 250


def new_table(*columns: str, wrap: tuple[str, ...] = ()) -> Table:
    """Return an empty table that fits 80 characters: only the columns named in `wrap` give way."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=column not in wrap, overflow="fold")
    return table


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    plain = msgspec.to_builtins(value, enc_hook=str)
    # By the standard library, which writes a file name that is no text where msgspec raises.
    write_json(json.dumps(plain, indent=2, ensure_ascii=False))


def write_json(document: str) -> None:
    """Write a line, or lines, of JSON, without a character that steers a terminal."""
    _write(visible_json(document) + "\n")


def write_document(document: str) -> None:
    """Write a document as it is for programs, and for a person's terminal what can be seen of it."""
    _write(visible(document, lines=True) if sys.stdout.isatty() else document)


def _write(document: str) -> None:
    # In UTF-8, whatever the terminal's charset (RFC 8259, 8.1).
    sys.stdout.flush()
    sys.stdout.buffer.write(document.encode("utf-8", "backslashreplace"))


def find_target(config: Config, number: int) -> Target:
    """Return a target of the config. Raises ConfigError where it is not in there."""
    if number not in config.targets:
        known = ", ".join(str(n) for n in sorted(config.targets)) or "none"
        raise ConfigError(
            [Problem(f"targets.{number}", f"is not configured (configured: {known}); add [targets.{number}]")]
        )
    return config.targets[number]


def load_beside(path: Path) -> Config:
    """Return the config for a command that works on the outbox: with the one of the running device, if one runs.

    Raises ConfigError.
    """
    config = load(path)
    running = as_running(path, config)
    if (running.outbox.url, running.device.id) != (config.outbox.url, config.device.id):
        # Its URL may hold a password.
        sys.stderr.write("the running device uses another outbox until it is restarted; so does this command\n")
    return running


def load_if_there(path: Path) -> Config | None:
    """Return the config, or None where there is no such file and the default place was meant."""
    return None if path == DEFAULT_CONFIG and not path.exists() else load(path)
