"""The errors of the house: each message says what was wrong, where, and what to do.

Nothing here knows how an error is shown; the command line prints the message, Modbus answers an exception code.
"""

import msgspec


class VdeviceError(Exception):
    """Base of every error that a user can cause or mend; its text is one sentence for that user."""


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong in the config: `path` as in TOML (`targets.7.url`), and what would be right."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigError(VdeviceError):
    """The config cannot be used; carries every problem, not only the first."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class TextError(VdeviceError):
    """Registers that do not decode to a string, or a string that does not fit into registers."""


class StageError(VdeviceError):
    """A write to a part of the text where no string in several writes was begun."""


class ConversionError(VdeviceError):
    """A value that cannot be what its destination is."""


class TooManyStepsError(VdeviceError):
    """One write of points causes more than can be worked out while others wait; nothing of it happened."""


class OutboxFullError(VdeviceError):
    """There is no room for a message of `target`, None where not only it is concerned; nothing of the request was stored."""

    def __init__(self, message: str, target: int | None = None) -> None:
        super().__init__(message)
        self.target = target


class OutboxFailingError(VdeviceError):
    """The outbox could not be written; nothing of the request was stored."""


class OutboxLateError(OutboxFailingError):
    """The outbox did not answer in time; whether the request was stored is not known."""


class StalledError(VdeviceError):
    """What does not answer in time: a file on a dead network mount, a named pipe that nobody writes."""


class BuildError(VdeviceError):
    """A request that cannot be built from its target and event: sending it again would not help."""


class FileRefusedError(BuildError):
    """A `file:` value that names nothing below `files.root`, or more than `files.max_bytes`."""


class DeviceError(VdeviceError):
    """The Modbus device did not answer as asked: unreachable, or an exception code."""
