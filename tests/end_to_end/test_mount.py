"""The outbox's disk is unmounted while the device runs: 04 until it is back, and nothing is stored where it would be hidden."""

import asyncio
import os
import sys
from pathlib import Path

from tests.support import free_port

STEPS = """
set -u
say() { echo "$1: $2"; }
write() { $VDEVICE send 7 "$1" >/dev/null 2>&1 && say "$1" stored || say "$1" refused; }
log() { until grep -q "$1" log; do sleep 0.05; done; }
mount -t tmpfs -o size=32m first disk
mkdir kept
mount --bind disk kept
$VDEVICE run >log 2>&1 & device=$!
until $VDEVICE send 7 before >/dev/null 2>&1; do sleep 0.1; done
umount -l disk
log "not mounted"
write unmounted
say files "$(ls disk | wc -l)"
mount --bind kept disk
until $VDEVICE send 7 after >/dev/null 2>&1; do sleep 0.1; done
kill $device; wait $device
say exit $?
$VDEVICE outbox list --state waiting
"""


async def test_a_disk_that_is_unmounted_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "vdevice.toml").write_text(
        f'[modbus]\nlisten = "127.0.0.1:{free_port()}"\n[web]\nenabled = false\n[outbox]\nurl = "sqlite:///disk/o.db"\n'
        '[targets.7]\nmethod = "get"\nurl = "http://127.0.0.1:9/"\n'
    )
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", STEPS),
        cwd=tmp_path,
        env={**os.environ, "VDEVICE": f"{sys.executable} -m vdevice"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(60):
            said = (await process.communicate())[0].decode()
    finally:
        if process.returncode is None:
            process.kill()
    assert "unmounted: refused" in said
    assert "files: 0" in said, "nothing is stored below the mount"
    assert "exit: 0" in said
    listed = said.partition("exit: 0")[2]
    assert "before" in listed
    assert "after" in listed
    assert "unmounted" not in listed
