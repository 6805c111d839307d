"""No name, and nobody who may write into `files.root`, makes the device read a file that lies elsewhere."""

import itertools
import os
import threading
from pathlib import Path

import pytest

from vdevice.errors import FileRefusedError
from vdevice.webhooks import files

INSIDE, OUTSIDE = b"inside", b"outside"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "files" / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "files" / "folder" / "deep" / "x").write_bytes(INSIDE)
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere" / "deep" / "x").write_bytes(OUTSIDE)
    return tmp_path / "files"


def test_files_and_links_that_stay_inside_are_read(root: Path) -> None:
    (root / "link").symlink_to("folder/deep/x")
    (root / "way").symlink_to("folder")
    for name in ("folder/deep/x", "folder//deep/./x", "link", "way/deep/x"):
        assert files.read(root, name, 100) == INSIDE


def test_a_hard_link_is_not_read(root: Path) -> None:
    os.link(root.parent / "elsewhere" / "deep" / "x", root / "hard")
    with pytest.raises(FileRefusedError, match="hard link"):
        files.read(root, "hard", 100)


@pytest.mark.parametrize("name", [".", "folder", "none", "folder/deep/x/y"])
def test_what_is_no_file_is_refused_in_words(name: str, root: Path) -> None:
    with pytest.raises(FileRefusedError):
        files.read(root, name, 100)


def test_no_descriptor_is_left_open(root: Path) -> None:
    os.link(root.parent / "elsewhere" / "deep" / "x", root / "hard")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in ("folder/deep/x", "hard", "none", "folder/none/x", "folder", "folder/deep/x/y"):
        try:
            files.read(root, name, 3)
        except FileRefusedError:
            continue
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("swapped", ["folder", "folder/deep", "folder/deep/x"])
def test_a_part_that_becomes_a_link_while_it_is_opened_does_not_lead_out(
    swapped: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The moment between looking and opening is made as long as it takes: the swap happens in it, each time."""
    resolve = Path.resolve

    def swap(path: Path, strict: bool = False) -> Path:  # noqa: FBT001, FBT002 (pathlib's)
        found = resolve(path, strict=strict)
        if found.name == "x" and not (root / swapped).is_symlink():
            (root / swapped).rename(root / "away")
            (root / swapped).symlink_to(root.parent / "elsewhere" / Path(swapped).relative_to("folder"))
        return found

    monkeypatch.setattr(Path, "resolve", swap)
    with pytest.raises(FileRefusedError):
        files.read(root, "folder/deep/x", 100)


def test_a_folder_that_is_swapped_all_the_time_never_leads_out(root: Path) -> None:
    stop = threading.Event()
    (root / "link").symlink_to(root.parent / "elsewhere")

    def swap() -> None:
        while not stop.is_set():
            (root / "folder").rename(root / "away")
            (root / "link").rename(root / "folder")
            (root / "folder").rename(root / "link")
            (root / "away").rename(root / "folder")

    thread = threading.Thread(target=swap)
    thread.start()
    read = set()
    try:
        for _ in itertools.repeat(None, 1500):
            try:
                read.add(files.read(root, "folder/deep/x", 100))
            except FileRefusedError:
                continue
    finally:
        stop.set()
        thread.join()
    assert read <= {INSIDE}


def test_a_folder_is_no_file_and_no_hard_link(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("folder", "."):
        with pytest.raises(FileRefusedError, match="it is not a regular file"):
            files.read(tmp_path, name, 100)
