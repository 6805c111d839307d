"""Commands about the config: init, check, render, map. None of them needs a running device, and none sends anything."""

import os
import time
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from vdevice import sheets
from vdevice.cli.options import (
    DEFAULT_CONFIG,
    ConfigPath,
    Json,
    TargetNumber,
    console,
    find_target,
    load_if_there,
    print_json,
    write_document,
)
from vdevice.config import Config, Target, load
from vdevice.config.example import EXAMPLE
from vdevice.config.json_schema import json_schema
from vdevice.errors import ConfigError, VdeviceError
from vdevice.model import Event, new_event_id
from vdevice.webhooks import http, masking, warnings


def init(*, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Write a commented vdevice.toml to start from."""
    try:
        handle = os.open(config, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        raise VdeviceError(f"{config} is there already; remove it, or name another file with --config") from None
    except OSError as error:
        raise VdeviceError(f"{config} cannot be written ({error.strerror}); check its folder") from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(EXAMPLE)
    console.print(f"{config} is written. Next: edit it, then `vdevice check` and `vdevice run`.")


def check(*, config: ConfigPath = DEFAULT_CONFIG, as_json: Json = False) -> int:
    """Check the config and list every problem; exit 1 if there is any."""
    try:
        loaded = load(config)
    except ConfigError as error:
        if as_json:
            print_json({"ok": False, "problems": error.problems, "warnings": []})
        else:
            for problem in error.problems:
                console.print("problem", style="red", end=" ")
                console.print(f"{problem.path} · {problem.message}", soft_wrap=True)
            console.print(f"{config}: {len(error.problems)} problems")
        return 1
    doubts = warnings.find(loaded)
    if as_json:
        print_json({"ok": True, "problems": [], "warnings": doubts})
        return 0
    for doubt in doubts:
        console.print(f"warning: {doubt}")
    console.print(f"{config}: right, {len(loaded.targets)} targets")
    return 0


def render(
    number: TargetNumber,
    text: str,
    *,
    config: ConfigPath = DEFAULT_CONFIG,
    show_secrets: Annotated[bool, Parameter(negative="")] = False,
    as_json: Json = False,
) -> None:
    """Show the exact HTTP request that TEXT would become, and send nothing; secrets are masked."""
    loaded = load(config)
    target = find_target(loaded, number)
    request = http.build(loaded, target, _event(loaded, target, text), time.time())

    def shown(words: str) -> str:
        return words if show_secrets else masking.mask(target, words)

    body = shown(request.body.decode("utf-8", "backslashreplace"))
    if as_json:
        headers = [[name, shown(value)] for name, value in request.headers]
        print_json({"method": request.method, "url": shown(request.url), "headers": headers, "body": body})
    else:
        console.print(shown(request.head()).replace("\r\n", "\n") + body, soft_wrap=True)


def _event(config: Config, target: Target, text: str) -> Event:
    now = time.time()
    return Event(new_event_id(now), target.number, text, now, config.client_name("127.0.0.1"), target.name, text)


def schema() -> None:
    """Print the JSON Schema of vdevice.toml, for editors that check and complete it."""
    print_json(json_schema())


Form = Literal["md", "csv", "json", "kepware", "ignition", "homeassistant", "nodered", "st", "scl"]


def map_(
    *,
    form: Annotated[
        Form, Parameter(name="--format", help="The kind of file; docs/tools.md says how to import each.")
    ] = "md",
    output: Annotated[Path | None, Parameter(name=["--output", "-o"], help="Write to this file.")] = None,
    generic: Annotated[bool, Parameter(negative="", help="The map of every device, without a config.")] = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Print the register map of this config: a sheet, a file that a SCADA system imports, or a PLC's function block."""
    loaded = None if generic else load_if_there(config)
    content = sheets.FORMATS[form](loaded)
    if output is None:
        write_document(content)
        return
    try:
        output.write_text(content, "utf-8")
    except OSError as error:
        raise VdeviceError(f"{output} cannot be written ({error.strerror}); check its folder") from None
