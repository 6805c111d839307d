"""`vdevice send` and `vdevice status` beside what is no device: one sentence, and nothing of the library below."""

from pathlib import Path

import pytest

from tests.end_to_end.test_command_line import vdevice
from tests.support import Recorder


@pytest.mark.parametrize("command", [("send", "7", "x"), ("status",)])
async def test_a_port_that_speaks_something_else_is_one_sentence(
    recorder: Recorder, tmp_path: Path, command: tuple[str, ...]
) -> None:
    recorder.reply = lambda _n: b""
    port = recorder.url.rpartition(":")[2]
    said = await vdevice(*command, "--port", port, folder=tmp_path, code=1)
    assert said.strip() == "vdevice: the device does not answer; check its address and its log"


async def test_a_port_where_nobody_listens_is_one_sentence(tmp_path: Path) -> None:
    said = await vdevice("status", "--port", "9", folder=tmp_path, code=1)
    assert len(said.strip().splitlines()) == 1
    assert said.startswith("vdevice: no device answers on 127.0.0.1:9;")


@pytest.mark.parametrize(
    ("option", "value"), [("--port", "0"), ("--port", "99999"), ("--unit", "256"), ("--unit", "-1")]
)
async def test_a_number_that_cannot_be_is_named(tmp_path: Path, option: str, value: str) -> None:
    assert f'Invalid value "{value}"' in await vdevice("send", "7", "x", option, value, folder=tmp_path, code=2)
