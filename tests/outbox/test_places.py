"""The place of a file is what the system tells of it, and asking for it leaves the times of the file alone."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdevice.outbox import places
from vdevice.outbox.places import Found, Place

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(name=NAMES, size=st.integers(0, 2**40))
def test_a_place_is_what_the_status_of_the_file_tells(
    tmp_path_factory: pytest.TempPathFactory, name: str, size: int
) -> None:
    file = tmp_path_factory.mktemp("places") / f"x{name}"
    with file.open("wb") as opened:
        opened.truncate(size)
    assert Place(file).look() == Found.of(file.stat())


def test_a_place_is_looked_at_anew_each_time(tmp_path: Path) -> None:
    file, other = tmp_path / "file", tmp_path / "other"
    place = Place(file)
    with pytest.raises(FileNotFoundError):
        place.look()
    file.write_bytes(b"12345")
    other.write_bytes(b"123")
    assert place.look() == Found.of(file.stat())
    other.replace(file)
    assert place.look() == Found.of(file.stat())
    assert place.look().size == 3
    file.unlink()
    with pytest.raises(FileNotFoundError):
        place.look()


def test_a_place_on_another_disk_has_another_device() -> None:
    for path in (Path("/"), Path("/dev/null"), Path("/proc/self")):
        if path.exists():
            assert Place(path).look() == Found.of(path.stat())


def test_a_system_call_that_is_forbidden_leaves_the_one_that_python_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    for broken in (None, lambda *_: -1, lambda *_: 0):
        monkeypatch.setattr(places, "_statx", broken)
        assert Place(file).look() == Found.of(file.stat())
        with pytest.raises(FileNotFoundError):
            Place(tmp_path / "none").look()


def test_the_next_write_of_a_file_gets_no_finer_time_because_it_was_looked_for(tmp_path: Path) -> None:
    """A time that was asked for must become another one by the next write; one that was not asked for stays for a tick."""
    for number in range(2000):
        file = tmp_path / str(number)
        handle = os.open(file, os.O_CREAT | os.O_RDWR)
        try:
            Place(file).look()
            os.write(handle, b"1")
            status = os.fstat(handle)
        finally:
            os.close(handle)
        file.unlink()
        # The access time is that of its creation.
        if status.st_mtime_ns == status.st_atime_ns:
            return
    pytest.fail("each write after a look had a time of its own")
