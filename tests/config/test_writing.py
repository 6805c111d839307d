"""The file of the config is written whole or not at all, where it really is, and stays whose it was."""

import asyncio
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from vdevice.config.edit import item_of
from vdevice.config.writing import write

TEXT = 'a = "ä"\n'


def test_it_is_written_whole_and_readable_as_before(tmp_path: Path) -> None:
    path = tmp_path / "vdevice.toml"
    write(path, "a = 1\n")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o664)
    write(path, TEXT)
    assert path.read_text("utf-8") == TEXT
    assert path.stat().st_mode & 0o777 == 0o664
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_one(tmp_path: Path) -> None:
    real, path = tmp_path / "etc" / "real.toml", tmp_path / "vdevice.toml"
    real.parent.mkdir()
    real.write_text("a = 1\n")
    path.symlink_to("etc/between.toml")
    (tmp_path / "etc" / "between.toml").symlink_to(real)
    write(path, TEXT)
    assert path.is_symlink()
    assert real.read_text("utf-8") == TEXT
    assert sorted(file.name for file in real.parent.iterdir()) == ["between.toml", "real.toml"]


def test_it_stays_whose_it_was(tmp_path: Path) -> None:
    path = tmp_path / "vdevice.toml"
    path.write_text("a = 1\n")
    # Only root may give a file away; everybody may to a group of his own.
    user, group = (1234, 2345) if os.getuid() == 0 else (os.getuid(), os.getgroups()[-1])
    os.chown(path, user, group)
    write(path, TEXT)
    assert (path.stat().st_uid, path.stat().st_gid) == (user, group)


WRITE = f"""
from pathlib import Path
from vdevice.config.writing import write
write(Path("vdevice.toml"), {TEXT!r})
"""
MOUNTED = """
set -eu
touch vdevice.toml
mount --bind real.toml vdevice.toml
"$PYTHON" -c "$WRITE"
cat vdevice.toml
"""


async def test_a_file_that_is_mounted_is_written_in_its_place(tmp_path: Path) -> None:
    real = tmp_path / "real.toml"
    real.write_text("# longer than what is written\na = 1\n")
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--map-root-user", "--mount", "sh", "-c", MOUNTED),
        cwd=tmp_path,
        env={**os.environ, "PYTHON": sys.executable, "WRITE": WRITE, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert (await process.communicate())[0].decode() == TEXT
    assert real.read_text("utf-8") == TEXT
    assert sorted(file.name for file in tmp_path.iterdir()) == ["real.toml", "vdevice.toml"]


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "vdevice.toml"
    path.write_text("a = 1\n")
    script = (
        "import resource, signal, sys; from pathlib import Path; from vdevice.config.writing import write\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write(Path(sys.argv[1]), '#' * 5000)\n"
        "except OSError: print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    assert done.stdout == "refused\n", done.stderr
    assert path.read_text() == "a = 1\n"
    assert list(tmp_path.iterdir()) == [path]


@given(st.text() | st.text(alphabet='a\r\n\t"\\\x00\x7f\u2028'))
def test_a_text_comes_back_as_it_was_saved(value: str) -> None:
    document = tomlkit.document()
    document["payload"] = item_of(value)
    written = tomlkit.dumps(document)
    # As the file is read.
    assert tomllib.loads(written.replace("\r\n", "\n").replace("\r", "\n"))["payload"] == value
