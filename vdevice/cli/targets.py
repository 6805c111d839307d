"""`vdevice target`: let what waits for a target wait on, and be delivered again; beside a running device or without one."""

from cyclopts import App

from vdevice import logs
from vdevice.cli.options import DEFAULT_CONFIG, ConfigPath, TargetNumber, console, find_target
from vdevice.config import load
from vdevice.outbox.api import open_letters

app = App(name="target", help="Pause and resume a target.")


@app.command
def pause(number: TargetNumber, *, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Deliver nothing for target NUMBER until it is resumed, also after a restart; strings are accepted and wait."""
    _set(number, config, paused=True)


@app.command
def resume(number: TargetNumber, *, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Deliver again what waits for target NUMBER."""
    _set(number, config, paused=False)


def _set(number: int, config: ConfigPath, *, paused: bool) -> None:
    logs.configure(quiet=True)
    loaded = load(config)
    find_target(loaded, number)
    with open_letters(loaded) as letters:
        changed = letters.pause(number, paused=paused)
    word = "paused" if paused else "resumed"
    console.print(f"target/{number}: {word if changed else f'was {word} already'}")
