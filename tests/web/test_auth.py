"""Users, their sessions and tokens, as the file says them at this moment."""

import os
import threading
from pathlib import Path

import msgspec
import pytest

from vdevice.errors import VdeviceError
from vdevice.web.auth import FILE, MOST_SESSIONS, Access, Users, Who

PASSWORD, OTHER = "correct horse", "another horse"


@pytest.fixture
def access(tmp_path: Path) -> Access:
    access = Access(tmp_path)
    access.set_password("admin", PASSWORD, "admin")
    access.set_password("guest", PASSWORD, "admin")
    return access


def remove(folder: Path, name: str) -> None:
    """Take a user out of the file, as a person does with an editor."""
    users = msgspec.json.decode((folder / FILE).read_bytes(), type=Users)
    kept = [user for user in users.users if user.name != name]
    (folder / FILE).write_bytes(msgspec.json.encode(msgspec.structs.replace(users, users=kept)))


async def test_a_new_password_of_another_process_ends_the_sessions_of_that_user_only(
    access: Access, tmp_path: Path
) -> None:
    guest = await access.sign_in("guest", PASSWORD, "a")
    admin = await access.sign_in("admin", PASSWORD, "a")
    Access(tmp_path).set_password("guest", OTHER, "admin")
    access.look()
    assert access.who(guest, "") is None
    assert access.who(admin, "") == Who("admin", "admin", "admin")
    assert await access.sign_in("guest", PASSWORD, "a") == ""
    assert access.who(await access.sign_in("guest", OTHER, "a"), "")


async def test_the_same_password_in_another_role_is_a_new_sign_in(access: Access, tmp_path: Path) -> None:
    guest = await access.sign_in("guest", PASSWORD, "a")
    Access(tmp_path).set_password("guest", PASSWORD, "viewer")
    access.look()
    assert access.who(guest, "") is None
    assert access.who(await access.sign_in("guest", PASSWORD, "a"), "") == Who("guest", "viewer", "guest")


async def test_the_role_is_the_one_of_the_file(access: Access, tmp_path: Path) -> None:
    session = await access.sign_in("guest", PASSWORD, "a")
    token = access.new_token("scada", "admin", "guest")
    text = (tmp_path / FILE).read_text()
    name, _, rest = text.partition('"guest"')
    (tmp_path / FILE).write_text(name + '"guest"' + rest.replace('"role": "admin"', '"role": "viewer"', 1))
    access.look()
    assert access.who(session, "") == Who("guest", "viewer", "guest")
    assert access.who("", token) == Who("token scada", "viewer", "guest")


async def test_sessions_and_tokens_of_a_removed_user_end_for_good(access: Access, tmp_path: Path) -> None:
    session = await access.sign_in("guest", PASSWORD, "a")
    token = access.new_token("scada", "admin", "guest")
    kept = access.new_token("mine", "viewer", "admin")
    remove(tmp_path, "guest")
    access.look()
    assert access.who(session, "") is None
    assert access.who("", token) is None
    assert access.who("", kept) == Who("token mine", "viewer", "admin")
    assert [one.name for one in access.users.tokens] == ["mine"]
    Access(tmp_path).set_password("guest", PASSWORD, "admin")
    access.look()
    assert access.who(session, "") is None
    assert access.who("", token) is None


async def test_without_a_file_nobody_has_anything(access: Access, tmp_path: Path) -> None:
    session = await access.sign_in("admin", PASSWORD, "a")
    token = access.new_token("scada", "admin", "admin")
    file = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).unlink()
    access.look()
    assert access.is_open
    assert (access.who(session, ""), access.who("", token)) == (None, None)
    with pytest.raises(VdeviceError, match="passwd"):
        access.new_token("scada", "admin", "")
    # A file that comes back is believed again.
    (tmp_path / FILE).write_bytes(file)
    access.look()
    assert access.who("", token) == Who("token scada", "admin", "admin")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"users": 5}', b"[" * 100_000])
async def test_a_damaged_file_opens_nothing(access: Access, tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    for _ in range(2):
        with pytest.raises(VdeviceError, match="lets nobody in"):
            access.look()
    assert not access.is_open


async def test_sessions_of_one_user_are_bounded_and_push_out_no_other(access: Access) -> None:
    admin = await access.sign_in("admin", PASSWORD, "a")
    first = await access.sign_in("guest", PASSWORD, "a")
    last = [await access.sign_in("guest", PASSWORD, "a") for _ in range(MOST_SESSIONS)]
    assert access.who(first, "") is None
    assert all(access.who(session, "") for session in (admin, *last))


@pytest.mark.parametrize("name", ["", "  "])
def test_a_user_has_a_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(VdeviceError, match="empty"):
        Access(tmp_path).set_password(name, PASSWORD, "admin")


async def test_what_one_process_revokes_no_other_writes_back(access: Access, tmp_path: Path) -> None:
    token = access.new_token("scada", "admin", "admin")
    changing = [
        threading.Thread(target=Access(tmp_path).set_password, args=(f"user {number}", PASSWORD, "viewer"))
        for number in range(8)
    ]
    for thread in changing:
        thread.start()
    assert access.revoke("scada")
    for thread in changing:
        thread.join()
    access.look()
    assert access.who("", token) is None
    assert len(access.users.users) == 2 + len(changing), "each of them was kept"


def test_a_password_that_root_sets_leaves_the_file_to_its_owner_who_runs_the_device(tmp_path: Path) -> None:
    Access(tmp_path).set_password("ann", PASSWORD, "admin")
    file = tmp_path / FILE
    # Only root may give a file away; everybody may to a group of his own.
    user, group = (1234, 2345) if os.getuid() == 0 else (os.getuid(), os.getgroups()[-1])
    os.chown(file, user, group)
    file.chmod(0o640)
    Access(tmp_path).set_password("ann", PASSWORD + "!", "admin")
    status = file.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (user, group, 0o600)
