"""The order of one connection's requests and responses, whenever the outbox says what became of the messages."""

import asyncio
import struct
from collections.abc import Sequence
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from tests.config.test_load import FOLDER
from tests.support import fc16
from vdevice.board import Board
from vdevice.config.load import parse
from vdevice.errors import OutboxFailingError
from vdevice.modbus.frames import Frame
from vdevice.modbus.pipeline import Pipeline
from vdevice.modbus.unit import Unit
from vdevice.model import Event, Stored
from vdevice.outbox.api import Outbox

TOML = '[targets.7]\nmethod = "get"\nurl = "http://127.0.0.1:9/"\n'
TEXT, READ = fc16(7000, "x"), struct.pack(">BHH", 3, 0, 1)


class Puts:
    """What an outbox was asked to store, each to be answered by the test."""

    def __init__(self) -> None:
        self.open: list[asyncio.Future[list[Stored]]] = []

    def put(self, _events: Sequence[Event], _changed_only: frozenset[int]) -> asyncio.Future[list[Stored]]:
        self.open.append(asyncio.get_running_loop().create_future())
        return self.open[-1]


async def run(steps: list[tuple[str, int]]) -> None:
    puts, ended = Puts(), 0
    unit = Unit(parse(TOML, FOLDER), cast("Outbox", puts), Board())
    client = unit.opened(unit.client("127.0.0.1"))

    def on_end() -> None:
        nonlocal ended
        ended += 1

    pipeline, asked, answered = Pipeline(unit, on_end), list[bytes](), list[tuple[int, bytes]]()
    failed: set[int] = set()
    begun: list[int] = []

    def check() -> None:
        answered.extend((frame.transaction, answer) for frame, answer in pipeline.take(client))
        left = asked[len(answered) :]
        assert len(pipeline) == len(left)
        # Texts are begun as far as nothing but texts is before them; a read is never behind one that is not stored.
        texts = next((place for place, pdu in enumerate(left) if pdu is not TEXT), len(left))
        for number in range(len(answered), len(answered) + texts):
            if number not in begun:
                begun.append(number)
        assert len(puts.open) == len(begun)
        assert texts or not left

    for kind, number in steps:
        if kind == "answer":
            open_ones = [place for place, put in enumerate(puts.open) if not put.done()]
            if open_ones:
                place = open_ones[number % len(open_ones)]
                if number % 3:
                    puts.open[place].set_result([])
                else:
                    failed.add(begun[place])
                    puts.open[place].set_exception(OutboxFailingError("full"))
                await asyncio.sleep(0)
        else:
            asked.append(TEXT if kind == "text" else READ)
            pipeline.add(Frame(len(asked) - 1, 1, asked[-1]), 0.0, client, None)
        check()
    pipeline.expire(0.0)
    answered.extend((frame.transaction, answer) for frame, answer in pipeline.take(client))
    assert [transaction for transaction, _ in answered] == list(range(len(asked))), "all are answered, in order"
    assert ended == len(begun)
    for transaction, answer in answered:
        is_stored = transaction in begun and puts.open[begun.index(transaction)].done() and transaction not in failed
        is_answered_well = asked[transaction] is READ or is_stored
        assert answer[0] & 0x80 == (0 if is_answered_well else 0x80)


@given(st.lists(st.tuples(st.sampled_from(["text", "text", "read", "answer"]), st.integers(0, 30)), max_size=40))
def test_requests_are_begun_and_answered_in_order_and_all_are_when_their_time_is_over(
    steps: list[tuple[str, int]],
) -> None:
    asyncio.run(run(steps))
