"""`vdevice outbox`: the waiting, delivered and failed events, beside a running device or without one."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from vdevice.cli.options import DEFAULT_CONFIG, ConfigPath, Json, console, new_table, print_json
from vdevice.config import load
from vdevice.errors import VdeviceError
from vdevice.model import EventState
from vdevice.outbox import database, letters

app = App(name="outbox", help="The waiting, delivered and failed strings.")
SHOWN = 15
"""Digits of an id in the table: its millisecond and three more, enough for the other commands to find it."""

StateName = Literal["waiting", "delivered", "failed", "discarded"]
Limit = Annotated[int, Parameter(help="How many at most.")]


@contextlib.contextmanager
def _opened(config: ConfigPath) -> Iterator[sqlite3.Connection]:
    connection = database.connect(load(config).outbox_file, create=False)
    try:
        yield connection
    except sqlite3.Error as error:
        raise VdeviceError(f"the outbox cannot be used ({error}); try again") from None
    finally:
        connection.close()


@app.command(name="list")
def list_(
    *,
    state: Annotated[list[StateName] | None, Parameter(help="Only these; may be given again.", negative="")] = None,
    target: int | None = None,
    limit: Limit = 50,
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """List events, newest first."""
    states = [EventState[name.upper()] for name in state or ("waiting", "delivered", "failed", "discarded")]
    with _opened(config) as connection:
        rows = letters.select(connection, states, target, limit)
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
            str(row["http_status"] or ""), _safe(row["error_text"]), _safe(value),
        )  # fmt: skip
    console.print(table)
    console.print(f"{len(rows)} events", markup=False)


@app.command
def show(event: str, *, config: ConfigPath = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Show one event whole; EVENT is its id, or the beginning of it."""
    with _opened(config) as connection:
        row = _one(connection, event)
    if as_json:
        print_json(_plain(row))
        return
    for name, value in _plain(row).items():
        console.print(f"{name:18} {value}", markup=False, soft_wrap=True)


@app.command
def replay(
    *events: str,
    all_failed: Annotated[bool, Parameter(name="--all", negative="", help="All dead letters.")] = False,
    target: Annotated[int | None, Parameter(help="With --all: of this target only.")] = None,
    config: ConfigPath = DEFAULT_CONFIG,
) -> int:
    """Queue dead letters again, behind all that waits."""
    return _move(
        "queued again", letters.replay, (EventState.FAILED,), events, config, everything=all_failed, target=target
    )


@app.command
def discard(
    *events: str,
    all_failed: Annotated[bool, Parameter(name="--all", negative="", help="All dead letters.")] = False,
    target: Annotated[int | None, Parameter(help="With --all: of this target only.")] = None,
    config: ConfigPath = DEFAULT_CONFIG,
) -> int:
    """End events without delivery: dead letters, or those named while they wait."""
    return _move(
        "discarded", letters.discard, (EventState.FAILED,), events, config, everything=all_failed, target=target
    )


def _move(
    done: str,
    move: Callable[[sqlite3.Connection, Sequence[int]], int],
    states: Sequence[EventState],
    events: Sequence[str],
    config: ConfigPath,
    *,
    everything: bool,
    target: int | None,
) -> int:
    if bool(events) == everything:
        raise VdeviceError("name events, or use --all; `vdevice outbox list --state failed` shows them")
    with _opened(config) as connection:
        if everything:
            seqs = [row["seq"] for row in reversed(letters.select(connection, states, target, -1))]
        else:
            seqs = [_one(connection, event)["seq"] for event in events]
        moved = move(connection, seqs)
    console.print(f"{moved} {done}", markup=False)
    return 0 if moved == len(seqs) else 1


def _one(connection: sqlite3.Connection, event: str) -> dict[str, Any]:
    rows = letters.find(connection, event)
    if len(rows) != 1:
        what = "there is no event" if not rows else f"there are {len(rows)} events"
        raise VdeviceError(f"{what} whose id starts with {event!r}; `vdevice outbox list` shows the ids")
    return rows[0]


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    answer = row["answer"] or b""
    moments = {name: _moment(row[name]) for name in ("accepted_at", "since", "next_at", "finished_at")}
    state = EventState(row["state"]).name.lower()
    return {**row, **moments, "state": state, "answer": answer.decode("utf-8", "backslashreplace")}


def _moment(seconds: float | None) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds") if seconds else ""


def _safe(text: str) -> str:
    """Keep what a PLC or a receiver wrote from being read as markup or terminal control."""
    return "".join(c if c.isprintable() else "·" for c in text).replace("[", r"\[")
