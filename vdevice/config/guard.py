"""The last line of defence of the config's checks: whatever one raises is a problem, with its path."""

import traceback
from collections.abc import Callable, Iterable
from typing import TypeVar

import structlog

from vdevice.errors import Problem

T = TypeVar("T")
log = structlog.get_logger()

MOST_PROBLEMS = 200
"""That are told at once: nobody reads more, and a device would be busy with them for seconds."""

LONGEST_KEY = 60
"""Characters of a key in a path."""


def guarded(path: str, problems: list[Problem], work: Callable[[], T]) -> T | None:
    """Return what `work` returns; where it raises, add a problem of this path, and return None. The log has the traceback."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 (the last line of defence that is meant)
        kind = type(error).__name__
        # Without the error's own words, which may hold a secret.
        where = "".join(traceback.format_tb(error.__traceback__))
        log.error("a check of the config failed", path=path, error=kind, traceback=where)  # noqa: TRY400 (see above)
        problems.append(Problem(path, f"cannot be checked ({kind}); look at its values, and report this"))
        return None


def gather(path: str, problems: list[Problem], found: Callable[[], Iterable[tuple[str, str]]]) -> None:
    """Add what a check yields, key and words, as problems below this path."""
    guarded(path, problems, lambda: problems.extend(Problem(f"{path}.{key}", words) for key, words in found()))


def bounded(problems: list[Problem]) -> list[Problem]:
    """Return no more problems than somebody reads, and how many more there are."""
    more = len(problems) - MOST_PROBLEMS
    if more <= 0:
        return problems
    return [
        *problems[:MOST_PROBLEMS],
        Problem(problems[MOST_PROBLEMS].path, f"and {more} more problems; mend these first"),
    ]


def short(key: str) -> str:
    """Return a key as it stands in a path."""
    return key if len(key) <= LONGEST_KEY else f"{key[:LONGEST_KEY]}…"
