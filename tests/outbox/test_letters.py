"""Messages that a person looks for in a SQLite outbox: what is found, and how much is read for it."""

import contextlib
import tracemalloc
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vdevice.model import EventState
from vdevice.outbox import database
from vdevice.outbox.letters import MOST_FOUND, SqliteLetters

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
    assert found == sorted(one for one in ids if one.startswith(wanted))


TEXTS = st.text("aAßÄäKk\0%_", max_size=3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.tuples(TEXTS, TEXTS, st.sampled_from((1, 2))), max_size=8),
    words=TEXTS,
    among=st.sampled_from((-1, 0, 3)),
    limit=st.sampled_from((-1, 1, 4)),
)
def test_a_search_finds_what_holds_the_words_in_capitals_or_not(
    tmp_path: Path, texts: list[tuple[str, str, int]], words: str, among: int, limit: int
) -> None:
    with contextlib.closing(database.connect(tmp_path / "o.db")) as connection:
        connection.execute("BEGIN")
        connection.executemany(ROW, [("x",)] * len(texts))
        connection.executemany(
            "UPDATE event SET value = ?, error_text = ?, state = ? WHERE seq = ?",
            [(*text, seq) for seq, text in enumerate(texts, 1)],
        )
        rows = SqliteLetters(connection).select([EventState.FAILED], 7, limit, words=words, among=among)
        connection.execute("ROLLBACK")
    newest = [text[:2] for text in reversed(texts) if text[2] == EventState.FAILED]
    if words:
        newest = [
            both for both in newest[: None if among < 0 else among] if any(words.lower() in one.lower() for one in both)
        ]
    assert [(row["value"], row["error_text"]) for row in rows] == newest[: None if limit < 0 else limit]


def test_a_damaged_text_stops_no_search(tmp_path: Path) -> None:
    with contextlib.closing(database.connect(tmp_path / "o.db")) as connection:
        connection.executemany(ROW, [("a",), ("b",)])
        connection.execute("UPDATE event SET value = CAST(x'FF41' AS TEXT) WHERE id = 'a'")
        assert [row["id"] for row in SqliteLetters(connection).select(list(EventState), words="a")] == ["a"]


def test_a_search_needs_the_memory_of_what_it_finds(tmp_path: Path) -> None:
    with contextlib.closing(database.connect(tmp_path / "o.db")) as connection:
        with database.transaction(connection):
            connection.executemany(ROW, [(str(number),) for number in range(20_000)])
            connection.execute("UPDATE event SET answer = zeroblob(1000), value = 'text ' || id")
        tracemalloc.start()
        try:
            found = SqliteLetters(connection).select(list(EventState), None, 200, words="TEXT 1999", among=20_000)
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert len(found) == 11
    assert most < 2**20


def test_few_letters_of_an_id_find_no_more_than_a_hundred_and_first_the_one_that_is_it(tmp_path: Path) -> None:
    with contextlib.closing(database.connect(tmp_path / "o.db")) as connection:
        connection.executemany(ROW, [(f"a{number:04}",) for number in range(300)] + [("a",)])
        found = [row["id"] for row in SqliteLetters(connection).find("a")]
    assert (len(found), found[0]) == (MOST_FOUND, "a")


def test_a_message_is_found_without_reading_all_others(tmp_path: Path) -> None:
    with contextlib.closing(database.connect(tmp_path / "o.db")) as connection:
        statements: list[str] = []
        connection.set_trace_callback(statements.append)
        SqliteLetters(connection).find("0" * 32)
        connection.set_trace_callback(None)
        (plan,) = [connection.execute(f"EXPLAIN QUERY PLAN {one}").fetchall() for one in statements]
    assert any("USING INDEX identity" in step[-1] for step in plan), plan
    assert not any(step[-1].startswith("SCAN") for step in plan), plan
