"""The outbox on a real NATS server: counts, order, de-duplication, leases, letters, sign-in."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from tests import jwts
from tests.brokers import NatsServer, nats_server
from tests.support import event_of, until
from vdevice.board import Board
from vdevice.config import Config
from vdevice.config.load import parse
from vdevice.errors import OutboxFailingError, OutboxFullError
from vdevice.model import ErrorCode, Event, EventState, Outcome, Stored, Verdict, new_event_id
from vdevice.outbox.jetstream.accepting import EVENTS_A_BATCH
from vdevice.outbox.jetstream.documents import ENDED_KEPT, Progress, name_of
from vdevice.outbox.jetstream.letters import DISCARDED_KEPT
from vdevice.outbox.jetstream.letters import opened as opened_letters
from vdevice.outbox.jetstream.names import Names, token
from vdevice.outbox.jetstream.outbox import NatsOutbox
from vdevice.outbox.jetstream.sharing import owner

DELIVERED = Outcome(Verdict.DELIVERED, http_status=200)
FAILED = Outcome(Verdict.GIVE_UP, ErrorCode.HTTP, 404, "HTTP 404", b"no such hook")
RETRY = Outcome(Verdict.RETRY, ErrorCode.HTTP, 503, "HTTP 503")
TARGET = '[targets.7]\nmethod = "get"\nurl = "http://127.0.0.1:9/"\nparallel = {parallel}\n'


def config_of(server: NatsServer, device: str, outbox: str = "", parallel: int = 1) -> Config:
    toml = f'[device]\nid = "{device}"\n[outbox]\nurl = "{server.url}"\n{outbox}\n{TARGET.format(parallel=parallel)}'
    return parse(toml, Path())


@contextlib.asynccontextmanager
async def opened(config: Config, role: str = "all") -> AsyncIterator[NatsOutbox]:
    async with NatsOutbox(config, Board(), role) as outbox:
        assert not outbox._board.outbox_failing
        yield outbox


@pytest.fixture
def device() -> str:
    return f"d {new_event_id(time.time())[-8:]}"


def serve(outbox: NatsOutbox, config: Config) -> list[Stored]:
    taken: list[Stored] = []
    outbox.serve(config.targets.values(), taken.extend)
    return taken


def state(outbox: NatsOutbox) -> tuple[int, int, int, int]:
    shown = outbox._board.targets[7]
    return shown.accepted, shown.delivered, shown.failed, shown.discarded


async def test_what_is_put_is_taken_in_order_one_at_a_time(nats: NatsServer, device: str) -> None:
    config = config_of(nats, device)
    async with opened(config) as outbox:
        taken = serve(outbox, config)
        await asyncio.gather(*(outbox.put([event_of(str(n))]) for n in range(50)))
        assert state(outbox) == (50, 0, 0, 0)
        for n in range(50):
            await until(lambda n=n: len(taken) == n + 1)  # type: ignore[misc]
            await asyncio.sleep(0)
            assert await outbox.finish(taken[n], DELIVERED, time.time())
        assert [item.event.value for item in taken] == [str(n) for n in range(50)]
        assert state(outbox) == (50, 50, 0, 0)
        assert outbox._board.waiting == 0


async def test_two_devices_that_write_at_once_count_every_string(nats: NatsServer, device: str) -> None:
    config = config_of(nats, device)
    async with opened(config, "device") as one, opened(config, "device") as two:
        puts = [outbox.put([event_of(f"{n}")]) for n in range(200) for outbox in (one, two)]
        await asyncio.gather(*puts)
        await until(lambda: state(one) == state(two) == (400, 0, 0, 0))


async def test_only_changes_are_stored_whichever_device_takes_them(nats: NatsServer, device: str) -> None:
    config, changed = config_of(nats, device), frozenset({7})
    async with opened(config, "device") as one, opened(config, "device") as two:
        for outbox, value, kept in ((one, "a", 1), (two, "a", 0), (two, "b", 1), (one, "b", 0), (one, "a", 1)):
            assert len(await outbox.put([event_of(value)], changed)) == kept
            await until(lambda: state(one) == state(two))


async def test_an_answer_that_was_lost_stores_a_string_once(nats: NatsServer, device: str) -> None:
    config = config_of(nats, device)
    async with opened(config) as outbox:
        await outbox.put([event_of("before")])
        broker = outbox._broker
        ask = broker._ask
        lost: list[object] = []

        async def losing(subject: str, data: bytes, headers: dict[str, str] | None = None) -> dict[str, object]:
            answer = await ask(subject, data, headers)
            if headers and "Nats-Batch-Commit" in headers and not lost:
                lost.append(answer)
                nats.send(signal.SIGSTOP)
                asyncio.get_running_loop().call_later(1.3, nats.send, signal.SIGCONT)
                return await ask(subject, data, headers)
            return answer

        broker._ask = losing  # type: ignore[assignment, method-assign]
        await outbox.put([event_of("once")])
        assert lost
        assert state(outbox) == (2, 0, 0, 0)
    assert await asyncio.to_thread(waiting, config) == ["once", "before"]


def waiting(config: Config) -> list[str]:
    with opened_letters(config) as letters:
        return [row["value"] for row in letters.select([EventState.WAITING])]


async def test_events_of_one_request_are_stored_together_or_not_at_all(nats: NatsServer, device: str) -> None:
    config = config_of(nats, device, "max_messages = 3")
    async with opened(config) as outbox:
        await outbox.put([event_of("a"), event_of("b")])
        with pytest.raises(OutboxFullError):
            await outbox.put([event_of("c"), event_of("d")])
        # What another device stored a moment ago is not counted yet, and the stream itself refuses.
        outbox._board.waiting = 0
        other = msgspec_number(event_of("far"), 8)
        with pytest.raises(OutboxFullError):
            await outbox.put([other] * 3 + [msgspec_number(event_of(str(n)), n) for n in range(1, 65)] * 2)
        await outbox.put([event_of("c")])
        assert state(outbox) == (3, 0, 0, 0)


async def test_more_messages_of_one_request_than_a_batch_holds_are_refused_at_once(
    nats: NatsServer, device: str
) -> None:
    async with opened(config_of(nats, device)) as outbox:
        too_many = outbox.put([event_of(str(n)) for n in range(EVENTS_A_BATCH + 1)])
        fitting = [outbox.put([event_of(str(n)) for n in range(count)]) for count in (EVENTS_A_BATCH, 1)]
        await asyncio.sleep(0)
        assert too_many.done()
        with pytest.raises(OutboxFailingError, match=f"{EVENTS_A_BATCH + 1} messages; NATS takes {EVENTS_A_BATCH}"):
            await too_many
        await asyncio.gather(*fitting)
        assert state(outbox) == (EVENTS_A_BATCH + 1, 0, 0, 0)
        assert outbox._room.arriving == 0


def msgspec_number(event: Event, target: int) -> Event:
    return Event(
        new_event_id(time.time()), target, event.value, event.accepted_at, "10.0.0.5", f"target/{target}", event.value
    )


async def test_a_result_is_recorded_once(nats: NatsServer, device: str) -> None:
    config = config_of(nats, device)
    async with opened(config) as outbox:
        taken = serve(outbox, config)
        await outbox.put([event_of("a")])
        await until(lambda: len(taken) == 1)
        assert await outbox.finish(taken[0], FAILED, time.time())
        assert not await outbox.finish(taken[0], DELIVERED, time.time())
        assert not await outbox.retry(taken[0], RETRY)
        assert state(outbox) == (1, 0, 1, 0)


async def test_what_ended_is_not_offered_again_when_its_acknowledgement_was_lost(nats: NatsServer, device: str) -> None:
    config = config_of(nats, device)
    async with opened(config) as outbox:
        taken = serve(outbox, config)
        await outbox.put([event_of("a")])
        await until(lambda: len(taken) == 1)
        held = outbox._taking._leases.held[taken[0].seq]
        outbox._taking._leases.held[taken[0].seq] = held._replace(message=NeverAcknowledged(held.message))  # type: ignore[arg-type]
        await outbox.finish(taken[0], DELIVERED, time.time())
        await outbox.put([event_of("b")])
        await until(lambda: len(taken) == 2)
        assert taken[1].event.value == "b"
        assert state(outbox) == (2, 1, 0, 0)


class NeverAcknowledged:
    """A message whose acknowledgement does not arrive: it is asked for at once again."""

    def __init__(self, message: object) -> None:
        self._message = message

    def __getattr__(self, name: str) -> object:
        return getattr(self._message, name)

    async def ack(self) -> None:
        await self._message.nak()  # type: ignore[attr-defined]


async def test_attempts_go_with_the_string_to_the_next_dispatcher(nats: NatsServer, device: str) -> None:
    config = config_of(nats, device)
    async with opened(config) as outbox:
        taken = serve(outbox, config)
        await outbox.put([event_of("a")])
        await until(lambda: len(taken) == 1)
        tried = Stored(taken[0].seq, taken[0].event, taken[0].since, 3, time.time() + 60)
        assert await outbox.retry(tried, RETRY)
        assert outbox._board.targets[7].attempts == 3
    async with opened(config) as outbox:
        again = serve(outbox, config)
        await until(lambda: len(again) == 1)
        assert (again[0].attempts, again[0].next_at) == (tried.attempts, tried.next_at)
        shown = outbox._board.targets[7]
        assert (shown.http_status, shown.error, shown.error_text) == (503, ErrorCode.HTTP, "HTTP 503")


async def test_parallel_lets_that_many_out_at_a_time(nats: NatsServer, device: str) -> None:
    config = config_of(nats, device, parallel=3)
    async with opened(config) as outbox:
        taken = serve(outbox, config)
        await asyncio.gather(*(outbox.put([event_of(str(n))]) for n in range(5)))
        await until(lambda: len(taken) == 3)
        await asyncio.sleep(0.2)
        assert len(taken) == 3
        await outbox.finish(taken[1], DELIVERED, time.time())
        await until(lambda: len(taken) == 4)


async def test_a_delayed_string_is_not_taken_before_it_is_due_and_holds_up_nobody(
    nats: NatsServer, device: str
) -> None:
    config = config_of(nats, device)
    async with opened(config) as outbox:
        taken = serve(outbox, config)
        now = time.time()
        late = Event(new_event_id(now), 7, "late", now, "c", "p", "s", "", now + 0.8)
        await outbox.put([late])
        await outbox.put([event_of("soon")])
        await until(lambda: len(taken) == 1)
        await outbox.finish(taken[0], DELIVERED, time.time())
        await until(lambda: len(taken) == 2)
        assert time.time() >= now + 0.8
        assert [item.event.value for item in taken] == ["soon", "late"]


@pytest.mark.parametrize(
    "by_hand", [b"by hand", b'{"id": "\xff"}', rb'{"id": "\ud800"}'], ids=["text", "no UTF-8", "surrogate"]
)
async def test_what_is_no_event_is_left_out_with_a_line_in_the_log(
    nats: NatsServer, device: str, capsys: pytest.CaptureFixture[str], by_hand: bytes
) -> None:
    config = config_of(nats, device)
    async with opened(config) as outbox:
        taken = serve(outbox, config)
        await outbox._broker.client.publish(Names(device).target(7), by_hand)
        await outbox.put([event_of("a")])
        await until(lambda: len(taken) == 1)
        assert taken[0].event.value == "a"
    assert "not an event" in capsys.readouterr().out


async def test_letters_are_listed_replayed_and_discarded(nats: NatsServer, device: str) -> None:
    config = config_of(nats, device)
    async with opened(config) as outbox:
        taken = serve(outbox, config)
        await outbox.put([event_of("a"), event_of("b")])
        await until(lambda: len(taken) == 1)
        await outbox.finish(taken[0], FAILED, time.time())
        await until(lambda: len(taken) == 2)

        def work() -> None:
            with opened_letters(config) as letters:
                (dead,) = letters.select([EventState.FAILED], 7)
                assert (dead["value"], dead["http_status"], dead["answer"]) == ("a", 404, b"no such hook")
                assert letters.find(dead["id"]) == [dead]
                assert letters.select([EventState.FAILED], 7, words=dead["value"].upper()) == [dead]
                assert letters.select([EventState.FAILED], 7, words="in none") == []
                assert letters.replay([dead, dead]) == 1
                assert letters.select([EventState.FAILED]) == []
                waiting = letters.select([EventState.WAITING])
                assert [row["value"] for row in waiting] == ["a", "b"]
                assert letters.discard([waiting[1]]) == 1
                assert letters.discard([waiting[1]]) == 0
                assert [row["value"] for row in letters.select([EventState.DISCARDED])] == ["b"]

        await asyncio.to_thread(work)
        await until(lambda: state(outbox) == (2, 0, 0, 1))
        # The one who holds what was discarded records nothing any more; the replayed one comes.
        assert not await outbox.finish(taken[1], DELIVERED, time.time())
        await until(lambda: len(taken) == 3)
        assert taken[2].event.value == "a"
        assert time.time() - taken[2].since < 10
        assert await outbox.finish(taken[2], DELIVERED, time.time())
        assert state(outbox) == (2, 1, 0, 1)


async def test_many_discarded_messages_leave_few_names_and_what_is_held_of_them_is_let_go(
    nats: NatsServer, device: str
) -> None:
    config = config_of(nats, device)

    def discard() -> int:
        with opened_letters(config) as letters:
            oldest_first = letters.select([EventState.WAITING], 7, -1)[::-1]
            return letters.discard(oldest_first)

    async with opened(config) as outbox:
        taken = serve(outbox, config)
        await asyncio.gather(*(outbox.put([event_of(str(n))]) for n in range(300)))
        await until(lambda: len(taken) == 1)
        assert await asyncio.to_thread(discard) == 300
        await until(lambda: state(outbox) == (300, 0, 0, 300))
        assert len(outbox._results.of(7).ended_last) <= 2 * DISCARDED_KEPT
        # Its name is not among them any more.
        assert await outbox.fetch(7, 0, 10, time.time()) == ([], None)
        assert not await outbox.finish(taken[0], DELIVERED, time.time())
        assert state(outbox) == (300, 0, 0, 300)


async def test_tls_with_a_client_certificate(tmp_path: Path, device: str) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    for name in ("127.0.0.1", "client"):
        issued = ca.issue_cert(name)
        issued.private_key_pem.write_to_path(str(tmp_path / f"{name}.key"))
        issued.cert_chain_pems[0].write_to_path(str(tmp_path / f"{name}.pem"))
    settings = (
        f'tls {{ cert_file: "{tmp_path}/127.0.0.1.pem", key_file: "{tmp_path}/127.0.0.1.key", '
        f'ca_file: "{tmp_path}/ca.pem", verify: true }}'
    )
    files = f'tls_ca = "{tmp_path}/ca.pem"\ntls_cert = "{tmp_path}/client.pem"\ntls_key = "{tmp_path}/client.key"'
    with nats_server(tmp_path / "n", settings, "tls") as server:
        async with opened(config_of(server, device, files)) as outbox:
            await outbox.put([event_of("a")])
        without = files.partition("\n")[0]
        async with NatsOutbox(config_of(server, device, without), Board(), "device") as outbox:
            with pytest.raises(OutboxFailingError):
                await outbox.put([event_of("b")])


async def test_a_credentials_file_signs_in(tmp_path: Path, device: str) -> None:
    settings = jwts.write(tmp_path)
    with nats_server(tmp_path / "n", settings) as server:
        async with opened(config_of(server, device, f'credentials = "{tmp_path}/user.creds"')) as outbox:
            await outbox.put([event_of("a")])
        async with NatsOutbox(config_of(server, device), Board(), "device") as outbox:
            assert outbox._board.outbox_failing


@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=32), unique=True))
def test_every_device_id_has_names_of_its_own(ids: list[str]) -> None:
    tokens = [token(device) for device in ids]
    assert len(set(tokens)) == len(ids)
    assert all(set(t) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") for t in tokens)


@given(st.sets(st.text("0123456789abcdef", min_size=12, max_size=12), min_size=2, max_size=8), st.data())
def test_a_dispatcher_that_leaves_moves_its_own_targets_only(dispatchers: set[str], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(sorted(dispatchers)))
    for target in range(65):
        before, after = owner(target, dispatchers), owner(target, dispatchers - {gone})
        assert before in dispatchers
        assert before in {after, gone}


def test_the_targets_are_spread() -> None:
    dispatchers = [f"dispatcher {n}" for n in range(3)]
    shares = [sum(owner(target, dispatchers) == who for target in range(1, 65)) for who in dispatchers]
    assert min(shares) > 10
    assert owner(1, []) is None


@given(st.lists(st.integers(1, 30), max_size=60), st.integers(1, 3))
def test_counters_count_each_event_once_while_it_is_remembered(seqs: list[int], parallel: int) -> None:
    progress = Progress()
    ended: list[int] = []
    for seq in seqs:
        stored = Stored(seq, event_of("x"), 0.0)
        after = progress.finished(name_of(seq, "id"), stored, DELIVERED, 1.0, parallel)
        assert (after is None) == (seq in ended[-ENDED_KEPT * parallel :])
        if after:
            progress = after
            ended.append(seq)
    assert progress.delivered == len(ended)
