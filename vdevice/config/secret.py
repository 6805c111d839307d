"""A value that no log, error or picture of the config may show."""

import os
from pathlib import Path


class Secret:
    """A secret string; only `reveal` shows it. `literal` ones came from elsewhere: variables in them are text."""

    __slots__ = ("_value", "literal")

    def __init__(self, value: str, *, literal: bool = False) -> None:
        self._value = value
        self.literal = literal

    def reveal(self) -> str:
        """Return the value, for the request that needs it."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def resolve(raw: object, folder: Path) -> Secret:
    """Return the secret that a TOML value stands for: a string, `{ env = "NAME" }` or `{ file = "path" }`.

    Raises ValueError with what would be right.
    """
    match raw:
        case str():
            return Secret(raw)
        case {"env": str(name), **rest} if not rest:
            if name not in os.environ:
                raise ValueError(f"the environment variable {name} is not set; set it before vdevice starts")
            return Secret(os.environ[name], literal=True)
        case {"file": str(name), **rest} if not rest:
            try:
                return Secret((folder / name).read_text("utf-8").rstrip("\r\n"), literal=True)
            except (OSError, UnicodeDecodeError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
                raise ValueError(
                    f"the file {name!r} cannot be read ({reason}); create it, readable for vdevice"
                ) from None
    raise ValueError('write a string, { env = "NAME" } or { file = "path" }')
