"""Saves vdevice.toml for a person: only if it is still the one that they saw, and only if it is right."""

from collections.abc import Callable

import structlog

from vdevice.config.edit import tag_of
from vdevice.config.load import parse, shaped
from vdevice.config.writing import write
from vdevice.threads import in_thread
from vdevice.web.call import FILE_SECONDS, ApiError, Call
from vdevice.web.views import Saved

log = structlog.get_logger()

Edit = Callable[[str], str]


async def save_text(call: Call, tag: str, what: str, edit: Edit, **details: object) -> Saved:
    """Change the file, apply it, and say so in the log. Raises ApiError, and ConfigError with all problems."""
    # One after the other: two that saw the same file must not both save.
    async with call.device.saving:
        path, text = await call.unchanged(tag)
        text = await edited(path.name, text, edit)

        def work() -> None:
            parse(text, path.resolve().parent)
            write(path, text)

        try:
            await in_thread(path.name, FILE_SECONDS, work)
        except OSError as error:
            raise ApiError(409, f"{path.name} cannot be written ({error.strerror})") from None
        log.info("audit", who=call.who.name, address=call.address, what=what, **details)
        await call.device.reload()
    return Saved(tag_of(text))


async def edited(name: str, text: str, edit: Edit) -> str:
    """Return the text that an edit makes, in a thread: parsing a large file takes its time.

    Raises ApiError where it cannot be done, and ConfigError where the file is wrong.
    """

    def work() -> str:
        shaped(text)
        return edit(text)

    try:
        return await in_thread(name, FILE_SECONDS, work)
    except KeyError as error:
        raise ApiError(422, f"there is no secret {error.args[0]} to keep; write it anew") from None
    except IndexError:
        raise ApiError(404, "there is no such place; look at the rules again") from None
    except (TypeError, ValueError, RecursionError):
        raise ApiError(422, "the settings hold what TOML cannot; null is left out") from None
