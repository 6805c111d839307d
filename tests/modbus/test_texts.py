"""Whatever the settings, and however a text is cut into writes, it is the text that comes out."""

import math
import time

from hypothesis import given
from hypothesis import strategies as st

from tests.support import target_of
from vdevice.board import Board
from vdevice.errors import TextError
from vdevice.modbus.refusals import Refusals
from vdevice.modbus.texts import Client, Texts
from vdevice.registers import readings, text
from vdevice.registers.text import Coding


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=150),
    st.sampled_from(readings.codings()),
    st.sampled_from(["request", "content", "commit", "idle"]),
    st.lists(st.integers(1, 60), max_size=8),
    st.booleans(),
)
def test_every_split_in_every_setting_gives_the_text(
    words: str,
    coding: Coding,
    mode: str,
    sizes: list[int],
    explicit: bool,  # noqa: FBT001
) -> None:
    if (coding.format, mode) == ("fixed", "content"):
        return
    try:
        data = text.encode_ended(words, coding) if mode == "content" else text.encode(words, coding)
    except TextError:
        return
    settings = "\n".join(f'{name} = "{value}"' for name, value in readings.differences(Coding(), coding))
    config, target = target_of(f'completion = "{mode}"\n{settings}')
    texts, client, offset, got = Texts(config, Refusals(Board())), Client("10.0.0.5", "plc"), 0, []
    for size in [900] if mode == "request" else [*sizes, *[123] * 20]:
        part = data[2 * offset : 2 * (offset + size)]
        if part:
            whole = texts.write(target, offset, part, client, time.monotonic())
            got += [whole.value] if whole else []
            offset += size
    if mode == "commit":
        length = len(text.ordered(data, coding).rstrip(b"\0")) if explicit and coding == Coding() else 0
        got.append(texts.commit(target, length, client).value)
    elif mode == "idle":
        got = [one.value for one in texts.due(math.inf)]
    assert got == [words]
