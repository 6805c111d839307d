"""`vdevice outbox`: the waiting, delivered and failed events, beside a running device or without one."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import App, Parameter
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from vdevice import logs
from vdevice.cli.options import (
    DEFAULT_CONFIG,
    ConfigPath,
    Json,
    console,
    load_beside,
    new_table,
    print_json,
    write_json,
)
from vdevice.config import Config, load
from vdevice.config.load import with_outbox
from vdevice.errors import VdeviceError
from vdevice.model import EventState
from vdevice.outbox import files, locks
from vdevice.outbox.api import Letters, open_letters
from vdevice.outbox.letters import MOST_FOUND, Row, reads_better_with
from vdevice.outbox.move import move, open_movable
from vdevice.terminal import Screen, visible

app = App(name="outbox", help="The waiting, delivered and failed strings.")
SHOWN = 15
"""Digits of an id in the table: its millisecond and three more, enough for the other commands to find it."""

LATEST = 253_402_214_400
"""The last day that a calendar has, in UTC seconds; a wait that the config made endless ends behind it."""

StateName = Literal["waiting", "delivered", "failed", "discarded"]
Limit = Annotated[int, Parameter(help="How many at most.")]
States = Annotated[list[StateName] | None, Parameter(help="Only these; may be given again.", negative="")]
AllFailed = Annotated[bool, Parameter(name="--all", negative="", help="All dead letters.")]
OfTarget = Annotated[int | None, Parameter(help="With --all: of this target only.")]
ErrorNumber = Annotated[int | None, Parameter(help="Only with this error, as in the error register.")]
Text = Annotated[str | None, Parameter(help="Only where the string or the reason holds this.")]


@app.command(name="list")
def list_(
    *,
    state: States = None,
    target: int | None = None,
    error: ErrorNumber = None,
    text: Text = None,
    limit: Limit = 50,
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """List events, newest first."""
    filtered = error is not None or text is not None
    with _opened(config) as letters:
        rows = _matching(letters.select(_states(state), target, -1 if filtered else limit), error, text)[:limit]
    if as_json:
        print_json([_plain(row) for row in rows])
        return
    table = new_table(
        "event", "target", "state", "accepted", "tries", "http", "reason", "value", wrap=("reason", "value")
    )
    for row in rows:
        state_name = EventState(row["state"]).name.lower()
        value = row["value"] if len(row["value"]) <= 40 else row["value"][:39] + "…"
        table.add_row(
            row["id"][:SHOWN], str(row["target"]), state_name, _moment(row["accepted_at"])[5:19], str(row["attempts"]),
            str(row["http_status"] or ""), visible(row["error_text"]), visible(value),
        )  # fmt: skip
    console.print(table)
    console.print(f"{len(rows)} events")


@app.command
def show(event: str, *, config: ConfigPath = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Show one event whole; EVENT is its id, or the beginning of it."""
    with _opened(config) as letters:
        row = _one(letters, event)
    shown = _plain(row) | {"reads_better_with": reads_better_with(row, load(config), config)}
    if as_json:
        print_json(shown)
        return
    for name, value in shown.items():
        console.print(f"{name:18} {visible(str(value))}", soft_wrap=True)


@app.command
def export(
    *,
    state: States = None,
    target: int | None = None,
    error: ErrorNumber = None,
    text: Text = None,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Print events as JSON lines, oldest first."""
    with _opened(config) as letters:
        rows = _matching(letters.select(_states(state), target, -1), error, text)
    for row in reversed(rows):
        write_json(msgspec.json.encode(_plain(row)).decode())


@app.command
def replay(
    *events: str,
    all_failed: AllFailed = False,
    target: OfTarget = None,
    error: ErrorNumber = None,
    text: Text = None,
    config: ConfigPath = DEFAULT_CONFIG,
) -> int:
    """Queue dead letters again, behind all that waits: those named, or with --all those that fit."""
    _check_choice(events, target, error, text, everything=all_failed)
    with _opened(config) as letters:
        rows = _chosen(letters, events, everything=all_failed, target=target, error=error, text=text)
        return _said("queued again", letters.replay(rows), rows)


@app.command
def discard(
    *events: str,
    all_failed: AllFailed = False,
    target: OfTarget = None,
    error: ErrorNumber = None,
    text: Text = None,
    reason: Annotated[str, Parameter(help="Kept with them, instead of why they failed.")] = "",
    config: ConfigPath = DEFAULT_CONFIG,
) -> int:
    """End events without delivery: those named, waiting or failed, or with --all the dead letters that fit."""
    _check_choice(events, target, error, text, everything=all_failed)
    with _opened(config) as letters:
        rows = _chosen(letters, events, everything=all_failed, target=target, error=error, text=text)
        return _said("discarded", letters.discard(rows, reason), rows)


@app.command
def set_aside(*, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Keep a damaged outbox under another name, while no device runs; the next run begins a new one."""
    loaded = load_beside(config)
    file = loaded.outbox_file
    if loaded.outbox.is_nats or not file.exists():
        raise VdeviceError(f"there is no outbox file to set aside ({loaded.outbox.url})")
    with locks.running_lock(file):
        try:
            aside = files.set_aside(file, "damaged")
        except OSError as error:
            raise VdeviceError(f"{file.name} cannot be renamed ({error.strerror}); check its folder") from None
    console.print(f"{file.name} is {aside.name} now")


@app.command(name="move")
def move_(
    *,
    to: Annotated[str, Parameter(help="URL of the other outbox, or a config file (.toml) whose [outbox] it is.")],
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """Carry what waits, dead letters and counters over to another outbox, while no device runs; repeat it if it was stopped."""
    logs.configure(quiet=True)
    source = load_beside(config)
    destination = load(Path(to)) if to.endswith(".toml") else with_outbox(source, to)
    if _place(destination) == _place(source):
        raise VdeviceError(f"{source.outbox.url} is the outbox itself; name another one with --to")
    with open_movable(source) as old, open_movable(destination) as new, _progress() as bar:
        task = bar.add_task("strings", total=None)
        moved = move(old, new, lambda count: bar.advance(task, count))
    if as_json:
        print_json(moved)
        return
    console.print(
        f"{moved.waiting} waiting and {moved.failed} failed strings are in {destination.outbox.url} now, {moved.brought} of "
        "them new there; set outbox.url to it before the next `vdevice run`",
    )


def _place(config: Config) -> object:
    """Return what tells outboxes apart: a URL may be relative to its config, and one NATS may hold several."""
    return (config.outbox.url, config.device.id) if config.outbox.is_nats else config.outbox_file


def _progress() -> Progress:
    columns = (TextColumn("{task.completed} {task.description}"), BarColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Screen(stderr=True), transient=True)


def _opened(config: Path) -> AbstractContextManager[Letters]:
    logs.configure(quiet=True)
    return open_letters(load_beside(config))


def _check_choice(events: Sequence[str], *filters: object, everything: bool) -> None:
    if bool(events) == everything or (events and any(given is not None for given in filters)):
        raise VdeviceError(
            "name events, or use --all, with --target, --error or --text; `vdevice outbox list --state failed` shows them"
        )


def _states(names: Sequence[str] | None) -> list[EventState]:
    return [EventState[name.upper()] for name in names or ("waiting", "delivered", "failed", "discarded")]


def _matching(rows: list[Row], error: int | None, text: str | None) -> list[Row]:
    return [
        row
        for row in rows
        if (error is None or row["error"] == error)
        and (text is None or text in row["value"] or text in row["error_text"])
    ]


def _chosen(
    letters: Letters,
    events: Sequence[str],
    *,
    everything: bool,
    target: int | None,
    error: int | None,
    text: str | None,
) -> list[Row]:
    """Return the events that are named, or the dead letters that fit, oldest first."""
    if everything:
        return _matching(letters.select([EventState.FAILED], target, -1), error, text)[::-1]
    return [_one(letters, event) for event in events]


def _said(done: str, moved: int, rows: Sequence[Row]) -> int:
    console.print(f"{moved} {done}")
    return 0 if moved == len(rows) else 1


def _one(letters: Letters, event: str) -> Row:
    rows = letters.find(event)
    if len(rows) != 1:
        what = (
            "there is no event" if not rows else f"there are {len(rows)}{' or more' * (len(rows) >= MOST_FOUND)} events"
        )
        raise VdeviceError(f"{what} whose id starts with {event!r}; `vdevice outbox list` shows the ids")
    return rows[0]


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    answer = row["answer"] or b""
    moments = {name: _moment(row[name]) for name in ("accepted_at", "since", "next_at", "finished_at")}
    state = EventState(row["state"]).name.lower()
    return {**row, **moments, "state": state, "answer": answer.decode("utf-8", "backslashreplace")}


def _moment(seconds: float | None) -> str:
    return datetime.fromtimestamp(min(seconds, LATEST)).astimezone().isoformat(" ", "seconds") if seconds else ""
