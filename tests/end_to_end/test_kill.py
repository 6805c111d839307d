"""`kill -9` at random moments under load: every answered string arrives, in order per target."""

import asyncio
import os
import signal
from pathlib import Path

from tests import seeds
from tests.support import Recorder, counting_plc, device, free_port, start, until
from vdevice.outbox.sqlite import SqliteOutbox

TARGETS = (1, 2, 3, 4)
KILLS = 10


async def test_a_writer_that_is_killed_loses_no_answered_string(recorder: Recorder, tmp_path: Path) -> None:
    targets = "".join(
        f'[targets.{n}]\nmethod = "post-raw"\nurl = "{recorder.url}/{n}"\npayload = "$VALUE"\n' for n in TARGETS
    )
    answered: dict[int, list[str]] = {n: [] for n in TARGETS}
    stop = asyncio.Event()
    async with device(targets, tmp_path) as app, asyncio.TaskGroup() as group:
        for number in TARGETS:
            group.create_task(counting_plc([app.address], number, answered[number], stop))
        for _ in range(KILLS):
            before = sum(map(len, answered.values()))
            await until(lambda before=before: sum(map(len, answered.values())) > before + 40, 30)  # type: ignore[misc]
            assert isinstance(app.outbox, SqliteOutbox)
            assert app.outbox.writer_pid
            os.kill(app.outbox.writer_pid, signal.SIGKILL)
        stop.set()
        await until(lambda: not app.board.outbox_failing and app.board.waiting == 0, 60)
        assert app.board.healthy
    first_seen = list(dict.fromkeys(recorder.bodies()))
    assert {value.encode() for values in answered.values() for value in values} <= set(first_seen)
    for number in TARGETS:
        arrived = [int(body.split(b":")[1]) for body in first_seen if body.startswith(b"%d:" % number)]
        assert arrived == sorted(arrived)


async def test_no_answered_string_is_lost_or_out_of_order(recorder: Recorder, tmp_path: Path) -> None:
    port = free_port()
    address = f"127.0.0.1:{port}"
    tables = [
        f'[targets.{n}]\nmethod = "post-raw"\nurl = "{recorder.url}/{n}"\npayload = "$VALUE"\nbackoff = 0.05'
        for n in TARGETS
    ]
    (tmp_path / "vdevice.toml").write_text(f'[modbus]\nlisten = "{address}"\n' + "\n".join(tables))
    answered: dict[int, list[str]] = {n: [] for n in TARGETS}
    stop = asyncio.Event()
    lots = seeds.lots("test_kill")
    process = await start(tmp_path / "vdevice.toml")
    async with asyncio.TaskGroup() as group:
        for number in TARGETS:
            group.create_task(counting_plc([address], number, answered[number], stop))
        for kill in range(KILLS):
            before = sum(map(len, answered.values()))
            await until(lambda before=before: sum(map(len, answered.values())) > before + 40, 30)  # type: ignore[misc]
            await asyncio.sleep(lots.random() * 0.3)
            process.send_signal(signal.SIGKILL)
            await process.wait()
            if kill == KILLS - 1:
                stop.set()
            process = await start(tmp_path / "vdevice.toml")
    wanted = {value.encode() for values in answered.values() for value in values}
    try:
        await until(lambda: wanted <= set(recorder.bodies()), 60)
    finally:
        process.terminate()
        assert await process.wait() == 0
    first_seen = list(dict.fromkeys(recorder.bodies()))
    for number in TARGETS:
        arrived = [int(body.split(b":")[1]) for body in first_seen if body.startswith(b"%d:" % number)]
        assert arrived == sorted(arrived)
    assert len(wanted) > KILLS * 40
