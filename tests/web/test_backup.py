"""The backup that the page gives: however large the outbox is, little of it is in memory; a full disk is called one."""

import contextlib
import random
import resource
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.test_access import served
from vdevice.cli import backup
from vdevice.errors import VdeviceError
from vdevice.outbox import database

MIB = 2**20
ROW = (
    "INSERT INTO event (id, target, state, accepted_at, since, value, source_connection, source_parameter, source_value, "
    "finished_at, answer) VALUES (?, 7, 1, 0, 0, '', '', '', '', 4e9, ?)"
)


def fill(folder: Path, mib: int) -> None:
    """Make an outbox of so many MiB, which cannot be packed smaller."""
    draw = random.Random(1)
    with contextlib.closing(database.connect(folder / "vdevice.db")) as connection, database.transaction(connection):
        connection.executemany(ROW, ((f"{number:032x}", draw.randbytes(MIB)) for number in range(mib)))


@contextlib.contextmanager
def full_disk(most: int) -> Iterator[None]:
    """Let no file of this process grow beyond so many bytes, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_backup_is_sent_without_being_in_memory(tmp_path: Path) -> None:
    fill(tmp_path, 48)
    async with served(tmp_path) as (browser, _):
        await browser.sign_in()
        tracemalloc.start()
        with (tmp_path / "got.zip").open("wb") as got:
            try:
                async with browser._session.get(f"http://{browser.address}/api/v1/backup") as answer:
                    assert (answer.status, answer.content_type) == (200, "application/zip")
                    assert "Content-Security-Policy" in answer.headers
                    async for piece in answer.content.iter_chunked(MIB):
                        got.write(piece)
                most = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
    assert (tmp_path / "got.zip").stat().st_size > 48 * MIB
    assert most < 24 * MIB
    with zipfile.ZipFile(tmp_path / "got.zip") as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == {"vdevice.toml", "backup.json", "outbox.db"}


async def test_a_backup_for_which_the_disk_is_too_small_says_so(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    async with served(tmp_path) as (browser, _):
        await browser.sign_in()
        with full_disk(MIB):
            status, said = await browser.ask("GET", "api/v1/backup")
        assert status == 409
        assert "disk" in str(said["title"])
        assert (await browser.ask("GET", "api/v1/backup"))[0] == 200


def test_a_restore_for_which_the_disk_is_too_small_does_not_call_it_no_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The log of the tests behind this one goes on.
    monkeypatch.setattr("vdevice.logs.configure", lambda **_options: None)
    (tmp_path / "vdevice.toml").write_text("")
    fill(tmp_path, 2)
    backup.backup(tmp_path / "plant.zip", config=tmp_path / "vdevice.toml")
    other = tmp_path / "other"
    other.mkdir()
    with full_disk(MIB), pytest.raises(VdeviceError, match=r"cannot be restored .*File too large"):
        backup.restore(tmp_path / "plant.zip", config=other / "vdevice.toml")
    assert not list(other.iterdir())
    backup.restore(tmp_path / "plant.zip", config=other / "vdevice.toml")
    assert {"vdevice.toml", "vdevice.db"} <= {file.name for file in other.iterdir()}


async def test_a_client_that_leaves_amid_a_backup_is_no_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path, 24)
    async with served(tmp_path) as (browser, _):
        await browser.sign_in()
        async with browser._session.get(f"http://{browser.address}/api/v1/backup") as answer:
            await answer.content.readexactly(MIB)
            answer.close()
        assert (await browser.ask("GET", "api/v1/session"))[0] == 200
    assert "Traceback" not in "".join(capfd.readouterr())
