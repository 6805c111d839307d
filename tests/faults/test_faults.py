"""Each fault in its short form: no answered string is lost, the order of each target holds."""

from pathlib import Path

import pytest

from tests.faults.scenarios import FAULTS

TRIES = 2


@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_that_was_answered_is_lost(fault: str, tmp_path: Path) -> None:
    row = await FAULTS[fault](tmp_path, TRIES)
    assert row.answered > 40 * TRIES
    assert (row.lost, row.out_of_order) == (0, 0), row
