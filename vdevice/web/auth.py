"""Who may see and change the device in a browser: passwords, sessions, tokens, and how often one may guess.

Passwords (argon2id) and the digests of tokens stand in `vdevice.users.json` beside the config, for its owner only. Sessions
are in memory: a restart asks for the password again.
"""

import asyncio
import functools
import hashlib
import math
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

import argon2
import msgspec

from vdevice import regular
from vdevice.errors import VdeviceError
from vdevice.threads import in_thread

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
TRIES, PAUSE = 5, 30.0
"""So many wrong passwords from one address, and it waits so many seconds before each further one."""


class User(msgspec.Struct, frozen=True):
    """Somebody who signs in with a password."""

    name: str
    role: Role
    hash: str


class Token(msgspec.Struct, frozen=True):
    """A program's access: `digest` is the SHA-256 of what it was shown once."""

    name: str
    role: Role
    digest: str
    created_at: float


class Users(msgspec.Struct, frozen=True):
    """The content of the file."""

    users: list[User] = []
    tokens: list[Token] = []


class Who(msgspec.Struct, frozen=True):
    """Who asks, and what they may do."""

    name: str
    role: Role


EVERYBODY = Who("local", "admin")
"""Without a password the page is on loopback only, and whoever is there may do all."""


class ThrottledError(VdeviceError):
    """Too many wrong passwords."""


class Access:
    """The users of a device, their sessions and tokens."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._sessions: dict[str, tuple[Who, float]] = {}
        self._wrong: dict[str, tuple[int, float]] = {}
        self._seen: tuple[int, int] | None = None
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
        seen = (status.st_mtime_ns, status.st_size)
        if self._seen != seen:
            try:
                self._users = msgspec.json.decode(regular.read(self._path), type=Users)
            except (OSError, msgspec.DecodeError, UnicodeDecodeError):
                raise VdeviceError(
                    f"{FILE} is damaged; remove it, and set the password anew with `vdevice passwd`"
                ) from None
            self._seen = seen

    async def aside(self, work: Callable[[], T]) -> T:
        """Do what looks at the file, or takes long, in a thread: one at a time, for each takes a core and 64 MiB.

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
        """Set the password of a user, who may be new. Raises VdeviceError."""
        if len(password) < SHORTEST:
            raise VdeviceError(f"the password has fewer than {SHORTEST} characters; take a longer one")
        self.look()
        user = User(name, role, argon2.PasswordHasher().hash(password))
        others = [other for other in self._users.users if other.name != name]
        if role != "admin" and not any(other.role == "admin" for other in others):
            raise VdeviceError("the first user must be an admin; set a password without --role viewer first")
        self._save(msgspec.structs.replace(self._users, users=[*others, user]))
        self._sessions = {key: kept for key, kept in self._sessions.items() if kept[0].name != name}

    def sign_in(self, name: str, password: str, address: str) -> str:
        """Return a new session, or an empty string for a wrong name or password. Raises ThrottledError."""
        self.look()
        count, last = self._wrong.get(address, (0, 0.0))
        if count >= TRIES and time.monotonic() - last < PAUSE:
            raise ThrottledError(f"too many wrong passwords; wait {PAUSE:.0f} s")
        user = next((user for user in self._users.users if user.name == name), None)
        if not _fits(user, password):
            self._wrong[address] = (count + 1, time.monotonic())
            return ""
        self._wrong.pop(address, None)
        session = secrets.token_urlsafe(32)
        self._sessions[_digest(session)] = (Who(name, user.role if user else "viewer"), time.monotonic())
        return session

    def sign_out(self, session: str) -> None:
        """End a session."""
        self._sessions.pop(_digest(session), None)

    def who(self, session: str, token: str) -> Who | None:
        """Return who has this session or token; None where nobody has."""
        if self.is_open:
            return EVERYBODY
        if token:
            digest = _digest(token)
            found = next((one for one in self._users.tokens if secrets.compare_digest(one.digest, digest)), None)
            return Who(f"token {found.name}", found.role) if found else None
        now = time.monotonic()
        self._sessions = {key: kept for key, kept in self._sessions.items() if now - kept[1] < SESSION}
        who, _ = self._sessions.get(_digest(session), (None, 0.0))
        # A user whose password was taken away has no session any more.
        if who is None or all(user.name != who.name for user in self._users.users):
            return None
        self._sessions[_digest(session)] = (who, now)
        return who

    def new_token(self, name: str, role: Role) -> str:
        """Return a new token, which is shown only now. Raises VdeviceError where the name is taken."""
        self.look()
        if any(token.name == name for token in self._users.tokens):
            raise VdeviceError(f"there is a token {name!r} already; revoke it, or take another name")
        token = secrets.token_urlsafe(32)
        made = Token(name, role, _digest(token), time.time())
        self._save(msgspec.structs.replace(self._users, tokens=[*self._users.tokens, made]))
        return token

    def revoke(self, name: str) -> bool:
        """Take a token back; False where there is none."""
        self.look()
        kept = [token for token in self._users.tokens if token.name != name]
        changed = len(kept) != len(self._users.tokens)
        if changed:
            self._save(msgspec.structs.replace(self._users, tokens=kept))
        return changed

    def _save(self, users: Users) -> None:
        new = self._path.with_name(f".{FILE}.new")
        try:
            with os.fdopen(os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(users)))
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
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
    except (argon2.exceptions.VerifyMismatchError, argon2.exceptions.InvalidHashError):
        return False
    return user is not None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
