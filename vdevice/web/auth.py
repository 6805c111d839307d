"""Who may see and change the device in a browser: passwords, sessions, tokens, and how often one may guess.

Passwords (argon2id) and the digests of tokens stand in `vdevice.users.json` beside the config, for its owner only. What the
file says now holds: a session ends with the password that it began with, a token with the user who made it, and the role of
both is the user's. Sessions are in memory: a restart asks for the password again.
"""

import asyncio
import contextlib
import functools
import hashlib
import math
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

import argon2
import msgspec

from vdevice import regular
from vdevice.config.writing import write
from vdevice.errors import VdeviceError
from vdevice.threads import in_thread
from vdevice.web.guesses import Guesses

if sys.platform != "win32":
    import fcntl

T = TypeVar("T")

Role = Literal["viewer", "admin"]
FILE = "vdevice.users.json"
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
"""Hosts on which the page may listen without a password."""

SESSION = 12 * 3600.0
"""Seconds without a request after which a session ends."""

FRESH = 0.2
"""Seconds for which a look at the file holds."""

SECONDS = 5.0
"""How long the file may take to be read or written, and a password to be checked."""

SHORTEST = 8

MOST_SESSIONS = 50
"""Sessions of one user; the one that was used longest ago makes room."""


class User(msgspec.Struct, frozen=True):
    """Somebody who signs in with a password."""

    name: str
    role: Role
    hash: str


class Token(msgspec.Struct, frozen=True):
    """A program's access: `digest` is the SHA-256 of what it was shown once, `user` is whose it is."""

    name: str
    role: Role
    digest: str
    created_at: float
    user: str = ""


class Users(msgspec.Struct, frozen=True):
    """The content of the file."""

    users: list[User] = []
    tokens: list[Token] = []


class Who(msgspec.Struct, frozen=True):
    """Who asks, and what they may do; `user` is who that is in the file."""

    name: str
    role: Role
    user: str = ""


EVERYBODY = Who("local", "admin")
"""Without a password the page is for loopback only, and whoever is there may do all."""


class Kept(msgspec.Struct, frozen=True):
    """A session: whose, the hash of the password that it began with, and when it was used last."""

    name: str
    hash: str
    used_at: float


class Access:
    """The users of a device, their sessions and tokens."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._sessions: dict[str, Kept] = {}
        self._guesses = Guesses()
        self._one_check = asyncio.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._users = Users()
        self._looked_at = -math.inf
        self._one_at_a_time = asyncio.Lock()

    @property
    def users(self) -> Users:
        """What the file held when it was looked at last."""
        return self._users

    def look(self) -> None:
        """Look at the file; `vdevice passwd` may have changed it. Raises VdeviceError where it is damaged."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._users, self._seen = Users(), None
            return
        except OSError as error:
            raise VdeviceError(f"{FILE} cannot be looked at ({error.strerror}); check its folder") from None
        seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        if self._seen != seen:
            try:
                users = msgspec.json.decode(regular.read(self._path), type=Users)
            except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise VdeviceError(
                    f"{FILE} is damaged and lets nobody in; put back a copy of it, or stop the device, move the file away, "
                    "and set each password anew with `vdevice passwd`"
                ) from None
            # A token ends with its user, also where a user of that name comes later.
            names = {user.name for user in users.users}
            kept = [token for token in users.tokens if token.user in names]
            self._users, self._seen = msgspec.structs.replace(users, tokens=kept), seen

    async def aside(self, work: Callable[[], T]) -> T:
        """Do what looks at the file in a thread, one after the other.

        Raises what `work` raises, and StalledError.
        """
        async with self._one_at_a_time:
            return await in_thread(FILE, SECONDS, work)

    async def refresh(self) -> None:
        """Look at the file unless that was a moment ago. Raises VdeviceError."""
        now = time.monotonic()
        if now - self._looked_at >= FRESH:
            await self.aside(self.look)
            self._looked_at = now

    @property
    def is_open(self) -> bool:
        """Whether no password was set when the file was looked at last."""
        return not self._users.users

    def set_password(self, name: str, password: str, role: Role) -> None:
        """Set the password of a user, who may be new; their sessions end. Raises VdeviceError."""
        if not name.strip():
            raise VdeviceError("the name of the user is empty; give one")
        if len(password) < SHORTEST:
            raise VdeviceError(f"the password has fewer than {SHORTEST} characters; take a longer one")
        user = User(name, role, argon2.PasswordHasher().hash(password))
        with self._changing():
            others = [other for other in self._users.users if other.name != name]
            if role != "admin" and not any(other.role == "admin" for other in others):
                raise VdeviceError("the first user must be an admin; set a password without --role viewer first")
            self._save(msgspec.structs.replace(self._users, users=[*others, user]))

    async def sign_in(self, name: str, password: str, address: str) -> str:
        """Return a new session, or an empty string for a wrong name or password.

        Passwords are checked one at a time, since each check takes a core and 64 MiB; few may wait for theirs.
        Raises ThrottledError, and VdeviceError where the file cannot be read.
        """
        self._guesses.begin(address, name, time.monotonic())
        try:
            async with self._one_check:
                await self.aside(self.look)
                user = self._user(name)
                fits = await in_thread("the check of a password", SECONDS, lambda: _fits(user, password))
        finally:
            self._guesses.end(address)
        if user is None or not fits:
            return ""
        self._guesses.forget(address, name)
        session = secrets.token_urlsafe(32)
        self._sessions[_digest(session)] = Kept(name, user.hash, time.monotonic())
        self._end_sessions(name)
        return session

    def sign_out(self, session: str) -> None:
        """End a session."""
        self._sessions.pop(_digest(session), None)

    def who(self, session: str, token: str) -> Who | None:
        """Return who has this session or token, in the role that the file gives them now; None where nobody has."""
        if token:
            return self._who_has(token)
        key = _digest(session)
        kept = self._sessions.get(key)
        user = self._user(kept.name) if kept else None
        now = time.monotonic()
        if kept is None or user is None or kept.hash != user.hash or now - kept.used_at >= SESSION:
            self._sessions.pop(key, None)
            return None
        self._sessions[key] = msgspec.structs.replace(kept, used_at=now)
        return Who(user.name, user.role, user.name)

    def _who_has(self, token: str) -> Who | None:
        digest = _digest(token)
        found = next((one for one in self._users.tokens if secrets.compare_digest(one.digest, digest)), None)
        user = self._user(found.user) if found else None
        if found is None or user is None:
            return None
        role: Role = "admin" if found.role == user.role == "admin" else "viewer"
        return Who(f"token {found.name}", role, user.name)

    def _user(self, name: str) -> User | None:
        return next((user for user in self._users.users if user.name == name), None)

    def _end_sessions(self, name: str) -> None:
        # The longest unused of this user, and all that ended by time.
        now = time.monotonic()
        self._sessions = {key: kept for key, kept in self._sessions.items() if now - kept.used_at < SESSION}
        own = sorted((kept.used_at, key) for key, kept in self._sessions.items() if kept.name == name)
        for _, key in own[:-MOST_SESSIONS]:
            del self._sessions[key]

    def new_token(self, name: str, role: Role, user: str) -> str:
        """Return a new token of a user, shown only now. Raises VdeviceError for a name that is taken, or no such user."""
        token = secrets.token_urlsafe(32)
        with self._changing():
            if self._user(user) is None:
                raise VdeviceError(
                    "a token belongs to a user, and there is none yet; set a password first, by `vdevice passwd`"
                )
            if any(token.name == name for token in self._users.tokens):
                raise VdeviceError(f"there is a token {name!r} already; revoke it, or take another name")
            made = Token(name, role, _digest(token), time.time(), user)
            self._save(msgspec.structs.replace(self._users, tokens=[*self._users.tokens, made]))
        return token

    def revoke(self, name: str) -> bool:
        """Take a token back; False where there is none."""
        with self._changing():
            kept = [token for token in self._users.tokens if token.name != name]
            changed = len(kept) != len(self._users.tokens)
            if changed:
                self._save(msgspec.structs.replace(self._users, tokens=kept))
            return changed

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Look at the file, and let no other process change it meanwhile: what one revokes, another must not write back."""
        if sys.platform == "win32":
            self.look()
            yield
            return
        try:
            handle = os.open(self._path.parent, os.O_RDONLY)
        except OSError as error:
            raise VdeviceError(f"{FILE} cannot be changed ({error.strerror}); check its folder") from None
        try:
            # Given back when it is closed, also by the end of the process. Some network mounts have no locks of this kind.
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
            self.look()
            yield
        finally:
            os.close(handle)

    def _save(self, users: Users) -> None:
        try:
            write(self._path, msgspec.json.format(msgspec.json.encode(users)).decode(), private=True)
        except OSError as error:
            raise VdeviceError(f"{FILE} cannot be written ({error.strerror}); check its folder") from None
        self._users, self._seen = users, None


@functools.cache
def _nobody() -> str:
    return argon2.PasswordHasher().hash(secrets.token_urlsafe())


def _fits(user: User | None, password: str) -> bool:
    """Check a password; as slowly for a name that nobody has."""
    try:
        argon2.PasswordHasher().verify(user.hash if user else _nobody(), password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False
    return user is not None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
