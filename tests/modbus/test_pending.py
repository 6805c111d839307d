"""A request that waits for the outbox ends once: stored, not stored, or late."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from vdevice.errors import OutboxFailingError, OutboxLateError
from vdevice.modbus.pending import Pending
from vdevice.model import Stored

HAPPENS = ("stored", "failed", "cancelled", "late", "turn")


@given(st.lists(st.sampled_from(HAPPENS), max_size=6))
def test_it_ends_once_by_what_came_first(happens: list[str]) -> None:
    async def work() -> None:
        stored: asyncio.Future[list[Stored]] = asyncio.get_running_loop().create_future()
        told: list[str] = []
        pending = Pending(stored, bytes, lambda: told.append("keep"), lambda: told.append("undo"))
        pending.on_end = lambda: told.append("end")
        first = ""
        for what in happens:
            if what == "late":
                pending.expire("slow")
            elif what == "turn":
                await asyncio.sleep(0)
            elif not stored.done():
                if what == "stored":
                    stored.set_result([])
                elif what == "failed":
                    stored.set_exception(OutboxFailingError("no disk"))
                else:
                    stored.cancel()
            else:
                continue
            first = first or ("" if what == "turn" else what)
        await asyncio.sleep(0)
        assert pending.ended == bool(first)
        assert told == {"": [], "stored": ["keep", "end"]}.get(first, ["undo", "end"])
        assert isinstance(pending.error, OutboxLateError) == (first == "late")
        assert (pending.error is None) == (first in {"", "stored"})
        if not stored.done():
            stored.cancel()

    asyncio.run(work())


async def test_where_its_effects_cannot_be_undone_it_ends_all_the_same() -> None:
    def broken() -> None:
        raise ZeroDivisionError

    ended: list[bool] = []
    stored: asyncio.Future[list[Stored]] = asyncio.get_running_loop().create_future()
    pending = Pending(stored, bytes, broken, broken)
    pending.on_end = lambda: ended.append(True)
    stored.set_result([])
    await asyncio.sleep(0)
    assert ended == [True]
    assert isinstance(pending.error, ZeroDivisionError)
