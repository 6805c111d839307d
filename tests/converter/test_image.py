from hypothesis import given
from hypothesis import strategies as st

from vdevice.config.schema import Point
from vdevice.converter import image
from vdevice.converter.image import Image

INT = Point(name="int", space="holding", address=10, type="int32")
LONG = Point(name="long", space="holding", address=20, type="int64")
TEXT = Point(name="text", space="holding", address=30, type="string", length=5)
BITS = [Point(name=f"b{n}", space="holding", address=40, type="bool", bit=n) for n in range(3)]
LAMP = Point(name="lamp", space="coil", address=10, type="bool")
ALL = [INT, LONG, TEXT, *BITS, LAMP]


def watching() -> Image:
    there = Image()
    there.watch(ALL)
    return there


def names(there: Image, space: str, address: int, data: bytes, client: str = "a") -> list[str]:
    return [point.name for point in there.write(space, address, data, client)[1]]


@given(st.integers(0, 899), st.binary(min_size=2, max_size=246).map(lambda b: b[: len(b) // 2 * 2]))
def test_registers_are_read_back_as_they_were_written(address: int, data: bytes) -> None:
    data = data[: 2 * (900 - address)]
    there = watching()
    patch, _ = there.write("holding", address, data, "a")
    assert there.read("holding", address, len(data) // 2) == data
    there.take_back(patch)
    assert there.read("holding", 0, 900) == bytes(1800)


def test_a_whole_write_tells_its_points_in_order() -> None:
    there = watching()
    assert names(there, "holding", 9, bytes(200)) == ["int", "long", "text", "b0", "b1", "b2"]
    assert names(there, "coil", 0, b"\1" * 20) == ["lamp"]
    assert names(there, "holding", 12, bytes(16)) == []


def test_a_bool_among_the_bits_that_were_not_written_is_not_told() -> None:
    there = watching()
    _, whole = there.write("holding", 40, b"\0\x02", "a", 0b010)
    assert [point.name for point in whole] == ["b1"]


def test_halves_come_together_in_the_requests_of_one_client_that_follow_each_other() -> None:
    there = watching()
    assert names(there, "holding", 10, b"ab") == []
    assert names(there, "holding", 11, b"cd") == ["int"]
    assert names(there, "holding", 11, b"cd") == []
    assert names(there, "holding", 10, b"ab") == ["int"]
    assert [names(there, "holding", 20 + n, b"xy") for n in (3, 0, 2, 1)] == [[], [], [], ["long"]]


def test_halves_do_not_come_together_over_another_request_or_client() -> None:
    there = watching()
    names(there, "holding", 10, b"ab")
    assert names(there, "holding", 500, b"ab") == []
    assert names(there, "holding", 11, b"cd") == []
    names(there, "coil", 500, b"\1")
    names(there, "holding", 10, b"ab", "a")
    assert names(there, "holding", 11, b"cd", "b") == []
    assert names(there, "holding", 11, b"cd", "a") == ["int"]
    assert names(there, "holding", 10, b"ab", "b") == ["int"]


def test_a_closed_connection_leaves_its_halves_to_the_next_one_of_its_address() -> None:
    there = watching()
    names(there, "holding", 10, b"ab", "a1")
    there.leave("a1", "a")
    there.take_over("a2", "a")
    assert names(there, "holding", 11, b"cd", "a2") == ["int"]
    names(there, "holding", 10, b"ab", "a2")
    names(there, "holding", 10, b"ef", "a3")
    there.leave("a2", "a")
    there.leave("a3", "a")
    there.take_over("a4", "a")
    assert names(there, "holding", 11, b"cd", "a4") == []


def test_a_string_is_whole_from_its_first_register_to_its_nul() -> None:
    there = watching()
    assert names(there, "holding", 30, b"Hi!\0") == ["text"]
    assert names(there, "holding", 30, b"Hell") == []
    assert names(there, "holding", 32, b"o\0") == ["text"]
    assert names(there, "holding", 31, b"x\0") == []
    assert names(there, "holding", 30, b"full  text") == ["text"]


def test_halves_of_many_clients_are_bounded() -> None:
    there = watching()
    for client in range(image.MOST_CLIENTS + 5):
        names(there, "holding", 10, b"ab", str(client))
    assert len(there._partial) == image.MOST_CLIENTS
    assert names(there, "holding", 11, b"ab", "0") == []
    assert names(there, "holding", 11, b"ab", str(image.MOST_CLIENTS)) == ["int"]
