import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdevice.modbus import pdu
from vdevice.modbus.pdu import Refused

# From the contract's list; pdu has its own.
FUNCTIONS = {1, 2, 3, 4, 5, 6, 15, 16, 17, 22, 23, 43}


@given(st.binary(min_size=1, max_size=511))
def test_any_pdu_is_a_request_or_a_refusal(raw: bytes) -> None:
    code = 0
    try:
        request = pdu.decode(raw)
    except Refused as refused:
        code = refused.code
    if code:
        assert code in ({3} if raw[0] in FUNCTIONS - {43} or len(raw) > pdu.LONGEST else {1, 3})
    else:
        assert request.function == raw[0]
        assert raw[0] in FUNCTIONS


@given(st.lists(st.booleans(), min_size=1, max_size=1968))
def test_bits_come_back_as_they_were_packed(values: list[bool]) -> None:
    answer = pdu.bits(1, values)
    packed = answer[2:]
    write = bytes((15, 0, 0)) + len(values).to_bytes(2) + bytes((len(packed),)) + packed
    if len(packed) <= 246:
        request = pdu.decode(write)
        assert isinstance(request, pdu.WriteBits)
        assert request.bits == values


@pytest.mark.parametrize("function", sorted(set(range(256)) - FUNCTIONS))
def test_other_functions_are_01(function: int) -> None:
    with pytest.raises(Refused) as caught:
        pdu.decode(bytes((function, 0, 0, 0, 1)))
    assert caught.value.code == 1


@given(st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 65535))
def test_a_mask_write_is_the_specification_s_formula_for_each_bit(register: int, keep: int, bits: int) -> None:
    request = pdu.MaskWrite(22, 0, keep, bits, b"")
    wanted = [(bits if not keep >> bit & 1 else register) >> bit & 1 for bit in range(16)]
    assert request.written(register) == sum(value << bit for bit, value in enumerate(wanted))
    # The example of the Application Protocol, 6.16.
    assert pdu.MaskWrite(22, 4, 0xF2, 0x25, b"").written(0x12) == 0x17
