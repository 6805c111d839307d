"""`vdevice rules`: what the rules would do, without a device and without sending anything."""

import time
from typing import Annotated

from cyclopts import App, Parameter

from vdevice.cli.options import DEFAULT_CONFIG, ConfigPath, Json, console, new_table, print_json
from vdevice.config import Config, load
from vdevice.config.schema import Point
from vdevice.converter import points
from vdevice.converter.change import Change, Origin, Step
from vdevice.converter.rules import Converter
from vdevice.errors import ConfigError, ConversionError, Problem, VdeviceError
from vdevice.terminal import visible

app = App(name="rules", help="The rules of the protocol converter.")


@app.command(name="test")
def try_(
    point: str,
    *values: Annotated[str, Parameter(help="Values to write, one after the other.", allow_leading_hyphen=True)],
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """Show what writing VALUES to POINT would cause, and send nothing: each rule in order, from an image of zeros."""
    loaded = load(config)
    found = _find(loaded, point)
    converter = Converter(loaded, explain=True)
    changes = [(value, _write(converter, found, value, place)) for place, value in enumerate(values)]
    if as_json:
        print_json([{"value": value, "steps": [_plain(step) for step in _steps(change)]} for value, change in changes])
        return
    for value, change in changes:
        console.print(f"{point} = {value}", style="bold")
        steps = _steps(change)
        if not steps:
            console.print("  no rule watches this point")
            continue
        table = new_table("rule", "fires", "destination", "text", wrap=("rule", "text"))
        for step in steps:
            row = _plain(step)
            table.add_row(*(visible(row[name]) for name in ("rule", "fires", "destination", "text")))
        console.print(table)


def _find(config: Config, name: str) -> Point:
    for point in config.points:
        if point.name == name:
            return point
    known = ", ".join(point.name for point in config.points) or "none"
    raise ConfigError([Problem("points", f"there is no point {name!r}; points are {known}")])


def _write(converter: Converter, point: Point, value: str, second: int) -> Change | None:
    try:
        data = points.encode(point, value, converter.image.read(point.space, point.address, point.count))
    except ConversionError as error:
        raise VdeviceError(f"{value!r} cannot be the value of {point.name!r}: {error}") from None
    # A minute apart, so that min_interval is seen only where it is longer.
    origin = Origin("127.0.0.1", "rules test", time.time() + 60 * second, 60.0 * second)
    return converter.write(point.space, point.address, data, origin)


def _steps(change: Change | None) -> list[Step]:
    return change.steps if change else []


def _plain(step: Step) -> dict[str, str]:
    rule = step.rule
    name = rule.description or f"{rule.source} → {', '.join(rule.destinations)}"
    delay = f" (after {rule.delay:g} s)" if rule.delay and not step.reason else ""
    fires = "no" if step.reason and not step.destination else "skipped" if step.reason else "yes"
    return {"rule": name, "fires": fires, "destination": step.destination + delay, "text": step.text or step.reason}
