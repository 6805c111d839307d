"""Staging against a model of it, over sequences of (time, connection, write): nothing is lost without a word, nothing mixes.

The model keeps a dictionary of registers for each connection, and knows nothing of how staging keeps its bytes.
"""

from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from vdevice.errors import StageError, TextError
from vdevice.registers import text
from vdevice.registers.stage import Key, Rules
from vdevice.registers.staging import Staging
from vdevice.registers.text import Coding

IDLE, TIMEOUT, TARGET = 0.5, 3.0, 7
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Step(NamedTuple):
    """`what` happens `seconds` after the step before, on one of the connections that are open."""

    seconds: float
    what: str
    which: int
    offset: int
    size: int
    ends: bool


steps = st.lists(
    st.builds(
        Step,
        st.sampled_from([0.0, 0.0, 0.25, 0.5, 0.75, 2.75, 3.0]),
        st.sampled_from(["write", "write", "open", "close", "write", "commit", "refuse", "look"]),
        st.sampled_from([0, 0, 0, 1, 2]),
        st.sampled_from([0, 0, 1, 2, 3, 5]),
        st.integers(1, 3),
        st.booleans(),
    ),
    min_size=4,
    max_size=40,
)


class Staged:
    """One text: its registers, when it was last written to, and who wrote it."""

    def __init__(self, number: int, now: float) -> None:
        self.number = number
        self.registers: dict[int, bytes] = {}
        self.last = now
        self.tail: int | None = None
        self.left: int | None = None
        self.refused = False

    def contiguous(self) -> bytes:
        count = 0
        while count in self.registers:
            count += 1
        return b"".join(self.registers[place] for place in range(count))

    def has_gap(self) -> bool:
        return len(self.registers) * 2 > len(self.contiguous())


class Model:
    def __init__(self, mode: str, most: int | None) -> None:
        self.mode, self.most = mode, most
        self.address: dict[int, str] = {}
        self.open: list[int] = []
        self.staged: dict[int, Staged] = {}
        self.begun = 0
        self.complete: list[tuple[int, int, bytes | None]] = []
        self.thrown: list[int] = []
        self.done: list[int] = []

    def close(self, connection: int) -> None:
        self.open.remove(connection)
        if connection in self.staged:
            for other in self.left_behind(self.address[connection]):
                if self.staged[other].tail is not None:
                    del self.staged[other]
            self.staged[connection].left = len(self.address)

    def left_behind(self, address: str) -> list[int]:
        return [n for n, one in self.staged.items() if one.left is not None and self.address[n] == address]

    def throw(self, connection: int) -> None:
        one = self.staged.pop(connection)
        if one.tail is None:
            # One that was answered 04 or 06 has been told already.
            (self.done if one.refused else self.thrown).append(one.number)

    def end_idle(self, now: float) -> None:
        over = [(one.last, place) for place, one in enumerate(self.staged.values()) if now >= one.last + IDLE]
        names = list(self.staged)
        for _, place in sorted(over):
            one = self.staged.pop(names[place])
            self.complete.append((names[place], one.number, None if one.has_gap() else one.contiguous()))

    def find(self, connection: int, now: float) -> Staged | None:
        if connection not in self.staged:
            left = [n for n in self.left_behind(self.address[connection]) if (self.staged[n].left or 0) < connection]
            halves = [n for n in left if self.staged[n].tail is None]
            heir = halves or left
            if len(heir) == 1:
                self.staged[connection] = self.staged.pop(heir[0])
                self.staged[connection].left = None
        if connection in self.staged and self.mode == "idle":
            self.end_idle(now)
        if connection in self.staged and self.mode != "idle" and now >= self.staged[connection].last + TIMEOUT:
            self.throw(connection)
        return self.staged.get(connection)

    def write(self, connection: int, offset: int, registers: list[bytes], now: float) -> bytes | str | None:
        one = self.find(connection, now)
        begins = one is None or (offset == 0 and self.mode != "commit")
        if begins:
            if offset and self.mode != "commit":
                return "02"
            if one is not None:
                self.throw(connection)
            self.begun += 1
            one = self.staged[connection] = Staged(self.begun, now)
        assert one
        if one.tail is not None:
            if offset < one.tail:
                return "02"
            one.last = now
            return None
        one.last = now
        one.refused = False
        one.registers |= {offset + place: register for place, register in enumerate(registers)}
        data = one.contiguous()
        if self.mode == "content":
            data = data[: 2 * self.most] if self.most else data
            if b"\0" in data or (self.most and len(data) == 2 * self.most):
                whole = data[: data.index(b"\0") + 1] if b"\0" in data else data
                one.tail = (len(whole) + 1) // 2
                self.done.append(one.number)
                return whole
        return None

    def commit(self, connection: int, now: float) -> bytes | str:
        one = self.find(connection, now)
        if one is None:
            return "03"
        data = one.contiguous()
        if one.has_gap() and b"\0" not in data:
            return "03"
        del self.staged[connection]
        self.done.append(one.number)
        return data


def attempt(call: Any, *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except StageError as error:
        return "03" if "last commit" in str(error) else "02"
    except TextError:
        return "03"


class Run:
    """Staging and its model, side by side."""

    def __init__(self, mode: str, most: int | None) -> None:
        self.rules = Rules(mode, Coding(), IDLE, TIMEOUT, most)
        self.staging, self.model = Staging(), Model(mode, most)
        self.now, self.wrote = 0.0, 0
        self.whole: list[tuple[int, bytes | None]] = []

    def step(self, step: Step) -> None:
        self.now += step.seconds
        model = self.model
        if step.what == "open" or not model.open:
            number = self.staging.opened()
            model.address[number] = f"10.0.0.{step.which % 2}"
            model.open.append(number)
            return
        connection = model.open[step.which % len(model.open)]
        getattr(self, step.what)(Key(model.address[connection], connection, TARGET), step)
        assert len(self.staging.thrown_away()) == len(model.thrown)
        model.done += model.thrown
        model.thrown.clear()
        ends = [one.last + self.rules.patience for one in model.staged.values()]
        assert self.staging.next_end() == min(ends, default=None)

    def close(self, key: Key, _step: Step) -> None:
        self.staging.closed(key.connection)
        self.model.close(key.connection)

    def commit(self, key: Key, _step: Step) -> None:
        if self.rules.mode == "commit":
            got = attempt(self.staging.commit, key, self.rules, 0, self.now)
            assert got == self.model.commit(key.connection, self.now)
            self.whole += [(key.connection, got)] if isinstance(got, bytes) else []

    def look(self, _key: Key, _step: Step) -> None:
        model = self.model
        got = [(done.key.connection, done.data) for done in self.staging.due(self.now)]
        if self.rules.mode == "idle":
            model.end_idle(self.now)
        else:
            self.staging.expire(self.now)
            for late in [n for n, one in model.staged.items() if self.now >= one.last + TIMEOUT]:
                model.throw(late)
        assert got == [(by, data) for by, _, data in model.complete]
        self.whole += got
        model.done += [number for _, number, _ in model.complete]
        model.complete.clear()

    def write(self, key: Key, step: Step) -> bytes | None:
        self.wrote += 1
        # The writer's letter, and one for each write: what is read afterwards says who wrote it.
        registers = [f"{LETTERS[key.connection % 52]}{LETTERS[self.wrote % 52]}".encode()] * step.size
        if step.ends:
            registers[-1] = registers[-1][:1] + b"\0"
        got = attempt(self.staging.write, key, self.rules, step.offset, b"".join(registers), self.now)
        assert got == self.model.write(key.connection, step.offset, registers, self.now)
        if not isinstance(got, bytes):
            return None
        self.whole.append((key.connection, got))
        return got

    def refuse(self, key: Key, step: Step) -> None:
        """Write, and find no room in the outbox for what is whole: the same text comes again."""
        got = self.write(key, step)
        if got is not None:
            self.whole.pop()
            self.staging.restore(key, self.rules, got, self.now)
            padded = got + b"\0" * (len(got) % 2)
            again = Staged(self.model.done.pop(), self.now)
            again.registers = {place: padded[2 * place : 2 * place + 2] for place in range(len(padded) // 2)}
            again.refused = True
            self.model.staged[key.connection] = again


@settings(max_examples=500)
@given(st.sampled_from(["content", "commit", "idle"]), st.booleans(), steps)
def test_staging_is_its_model(mode: str, is_tag: bool, happened: list[Step]) -> None:  # noqa: FBT001
    run = Run(mode, 4 if is_tag and mode == "content" else None)
    for step in happened:
        run.step(step)
    model = run.model
    # No text mixes what two addresses wrote.
    for connection, data in run.whole:
        writers = {LETTERS.index(chr(byte)) for byte in (data or b"")[::2] if byte}
        assert {model.address[writer] for writer in writers} <= {model.address[connection]}
    # Each one that was begun is stored, told, or still there; once.
    numbers = model.done + [n for _, n, _ in model.complete]
    numbers += [one.number for one in model.staged.values() if one.tail is None]
    assert sorted(numbers) == list(range(1, model.begun + 1))


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=200),
    st.sampled_from(["content", "commit", "idle"]),
    st.lists(st.integers(1, 40), max_size=20),
    st.lists(st.integers(0, 20), max_size=4),
)
def test_every_split_over_connections_that_come_and_go_gives_the_same_text(
    words: str, mode: str, sizes: list[int], reconnects: list[int]
) -> None:
    data = text.encode_ended(words)
    rules, staging = Rules(mode, Coding(), IDLE, TIMEOUT), Staging()
    connection, offset, got = staging.opened(), 0, None
    for place, size in enumerate([*sizes, *[123] * 20]):
        if place in reconnects:
            staging.closed(connection)
            connection = staging.opened()
        part = data[2 * offset : 2 * (offset + size)]
        if not part:
            break
        got = staging.write(Key("10.0.0.5", connection, TARGET), rules, offset, part, 0.1 * place)
        offset += size
    if mode == "commit":
        got = staging.commit(Key("10.0.0.5", connection, TARGET), rules, 0, 2.0)
    elif mode == "idle":
        ((_, _, got),) = staging.due(100.0)
    assert got is not None
    assert text.decode_ordered(got, Coding()) == words
    assert staging.thrown_away() == []
