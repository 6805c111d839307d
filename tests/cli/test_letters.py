"""`vdevice outbox` shows what lies in the outbox, whatever times stand there."""

import json
from pathlib import Path

import msgspec
import pytest

from tests.end_to_end.test_command_line import vdevice
from tests.support import event_of
from vdevice.board import Board
from vdevice.outbox.sqlite import SqliteOutbox


@pytest.mark.parametrize("due_at", [1e12, 1e308, float("inf")])
async def test_a_message_that_is_due_behind_all_calendars_is_shown(tmp_path: Path, due_at: float) -> None:
    event = msgspec.structs.replace(event_of("far away"), due_at=due_at)
    async with SqliteOutbox(tmp_path / "vdevice.db", Board(), 100, 5) as outbox:
        await outbox.put([event])
    (tmp_path / "vdevice.toml").write_text("")
    (row,) = json.loads(await vdevice("outbox", "list", "--json", folder=tmp_path))
    assert row["next_at"].startswith("9999-12-31") or row["next_at"].startswith("9999-12-30")
    assert "far away" in await vdevice("outbox", "show", event.id, folder=tmp_path)
    assert json.loads(await vdevice("outbox", "export", folder=tmp_path))["value"] == "far away"
