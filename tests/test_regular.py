"""What is read is a regular file, and nothing stays open of what is none."""

import os
from pathlib import Path

import pytest

from vdevice import regular


def test_what_is_no_regular_file_is_refused_and_closed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "large").write_bytes(b"12345")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in ("pipe", "folder", "large", "none"):
        with pytest.raises(OSError, match=r".") as caught:
            regular.read(tmp_path / name, 4)
        assert caught.value.strerror
    assert len(list(Path("/proc/self/fd").iterdir())) == before
