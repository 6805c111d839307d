"""Messages that a person looks for in a SQLite outbox: what is found, and how much is read for it."""

import contextlib
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vdevice.outbox import database
from vdevice.outbox.letters import SqliteLetters

ROW = (
    "INSERT INTO event (id, target, accepted_at, since, value, source_connection, source_parameter, source_value) "
    "VALUES (?, 7, 0, 0, '', '', '', '')"
)
IDS = st.text("0af\0\x7f\uffff\U0010fffe", max_size=4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ids=st.lists(IDS, max_size=8), wanted=IDS)
def test_messages_are_found_by_the_beginning_of_their_ids(tmp_path: Path, ids: list[str], wanted: str) -> None:
    with contextlib.closing(database.connect(tmp_path / "o.db")) as connection:
        connection.execute("BEGIN")
        connection.executemany(ROW, [(one,) for one in ids])
        found = [row["id"] for row in SqliteLetters(connection).find(wanted)]
        connection.execute("ROLLBACK")
    assert found == [one for one in ids if one.startswith(wanted)]


def test_a_message_is_found_without_reading_all_others(tmp_path: Path) -> None:
    with contextlib.closing(database.connect(tmp_path / "o.db")) as connection:
        statements: list[str] = []
        connection.set_trace_callback(statements.append)
        SqliteLetters(connection).find("0" * 32)
        connection.set_trace_callback(None)
        (plan,) = [connection.execute(f"EXPLAIN QUERY PLAN {one}").fetchall() for one in statements]
    assert any("USING INDEX identity" in step[-1] for step in plan), plan
    assert not any(step[-1].startswith("SCAN") for step in plan), plan
