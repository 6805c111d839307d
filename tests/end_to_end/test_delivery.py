"""Delivery against real HTTP servers: retries, order, dead letters, redirects, TLS, proxy, reload."""

import asyncio
import json
import ssl
import time
from pathlib import Path

import pytest
import trustme

from tests.conftest import OnNats, OnSqlite
from tests.support import Peer, Recorder, answer, device, fc16, peer, until, with_given
from vdevice.app import App
from vdevice.model import ErrorCode, EventState, TargetStatus
from vdevice.outbox.api import open_letters
from vdevice.outbox.letters import Row

pytestmark = pytest.mark.usefixtures("outbox")
FAST = "backoff = 0.02\nbackoff_max = 0.1"


def target(recorder: Recorder, settings: str = "", path: str = "/p") -> str:
    method = "" if "method" in settings else 'method = "post-raw"\npayload = "$VALUE"\n'
    return f'[targets.7]\n{method}url = "{recorder.url}{path}"\n{FAST}\n{settings}\n'


async def write(plc: Peer, *values: str, block: int = 7000) -> None:
    for value in values:
        assert (await plc.ask(fc16(block, value)))[0] == 16


def dead_letters(app: App) -> list[Row]:
    with open_letters(app.config) as letters:
        return letters.select([EventState.FAILED])


def replay_all(app: App) -> int:
    with open_letters(app.config) as letters:
        return letters.replay(list(reversed(letters.select([EventState.FAILED]))))


async def idle(app: App, number: int = 7) -> None:
    await until(lambda: app.board.targets[number].queued == 0 and not app.board.targets[number].sending)


async def test_strings_arrive_in_order_through_failures(recorder: Recorder, tmp_path: Path) -> None:
    recorder.reply = lambda n: answer(503 if n % 3 else 200, "ok")
    async with device(target(recorder), tmp_path) as app, peer(app.address) as plc:
        await write(plc, *(str(n) for n in range(20)))
        await idle(app)
    bodies = recorder.bodies()
    assert list(dict.fromkeys(bodies)) == [str(n).encode() for n in range(20)]
    keys = {line for raw in recorder.requests for line in raw.split(b"\r\n") if line.startswith(b"Idempotency-Key")}
    assert len(keys) == 20
    assert len(bodies) > 20


async def test_a_dead_letter_keeps_reason_and_answer(recorder: Recorder, tmp_path: Path) -> None:
    recorder.reply = lambda _n: answer(404, "no such hook")
    async with device(target(recorder), tmp_path) as app, peer(app.address) as plc:
        await write(plc, "lost")
        await idle(app)
        assert len(recorder.requests) == 1
        status = await plc.inputs(7000, 50)
        assert (status[0], status[1], status[7], status[10], status[14], status[15]) == (1, 404, 1, 6, 1, 1)
        assert await plc.ask(b"\x02\x00\x6b\x00\x01") == b"\x02\x01\x01"
    (row,) = await asyncio.to_thread(dead_letters, app)
    assert (row["value"], row["http_status"], row["answer"], row["attempts"]) == ("lost", 404, b"no such hook", 1)


async def test_attempts_end_in_a_dead_letter(recorder: Recorder, tmp_path: Path) -> None:
    recorder.reply = lambda _n: answer(500)
    async with device(target(recorder, "attempts = 3"), tmp_path) as app, peer(app.address) as plc:
        await write(plc, "x")
        await idle(app)
        assert len(recorder.requests) == 3
        assert app.board.targets[7].error is ErrorCode.HTTP


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_retry_after_is_waited_for(recorder: Recorder, tmp_path: Path, form: str) -> None:
    when = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3))
    recorder.reply = lambda n: answer(200) if n else answer(429, Retry_After="1" if form == "seconds" else when)
    settings = "backoff_max = 5\nbackoff = 0.01"
    toml = target(recorder).replace(FAST, settings)
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        started = time.monotonic()
        await write(plc, "x")
        await recorder.wait(1)
        await until(lambda: app.board.targets[7].retrying == 1)
        assert (await plc.inputs(7000, 12))[0] == TargetStatus.WAITING_TO_RETRY
        await idle(app)
        assert time.monotonic() - started > 0.9


async def test_a_late_answer_is_a_timeout(recorder: Recorder, tmp_path: Path) -> None:
    recorder.delay = 1
    async with device(target(recorder, "timeout = 0.1\nattempts = 2"), tmp_path) as app, peer(app.address) as plc:
        await write(plc, "x")
        await until(lambda: app.board.targets[7].sending == 1)
        assert (await plc.inputs(7000, 1))[0] == TargetStatus.SENDING
        await idle(app)
        assert app.board.targets[7].error is ErrorCode.TIMEOUT
        assert app.board.targets[7].http_status == 0


@pytest.mark.parametrize(
    ("url", "error"),
    [("http://127.0.0.1:9/", ErrorCode.CONNECT), ("http://no-such-host.invalid/", ErrorCode.DNS)],
)
async def test_network_errors_have_their_codes(tmp_path: Path, url: str, error: ErrorCode) -> None:
    toml = f'[targets.7]\nmethod = "get"\nurl = "{url}"\nattempts = 1'
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        await write(plc, "x")
        await idle(app)
        assert app.board.targets[7].error is error


async def test_what_cannot_be_built_is_a_dead_letter(recorder: Recorder, tmp_path: Path) -> None:
    toml = target(recorder, 'headers = { X = "$VALUE" }')
    other = f'[targets.8]\nmethod = "post-multipart"\nurl = "{recorder.url}/"\nparameters = [["f", "file:missing"]]'
    async with device(toml + other, tmp_path) as app, peer(app.address) as plc:
        await write(plc, "a\r\nX-Evil: 1")
        await write(plc, "x", block=8000)
        await idle(app)
        await idle(app, 8)
        assert app.board.targets[7].error is ErrorCode.BUILD
        assert app.board.targets[8].error is ErrorCode.FILE
    assert recorder.requests == []


async def test_too_old_strings_are_given_up(recorder: Recorder, tmp_path: Path) -> None:
    recorder.reply = lambda _n: answer(500)
    async with device(target(recorder, "max_age = 0.3\nattempts = 1000"), tmp_path) as app, peer(app.address) as plc:
        await write(plc, "x")
        await idle(app)
        assert app.board.targets[7].error is ErrorCode.TOO_OLD


async def test_parallel_sends_that_many_at_a_time(recorder: Recorder, tmp_path: Path) -> None:
    recorder.delay = 0.2
    async with device(target(recorder, "parallel = 4"), tmp_path) as app, peer(app.address) as plc:
        await write(plc, *"abcdefgh")
        await recorder.wait(4)
        assert app.board.targets[7].sending == 4
        await idle(app)
    assert sorted(recorder.bodies()) == [c.encode() for c in "abcdefgh"]


async def test_rate_delays_and_never_drops(recorder: Recorder, tmp_path: Path) -> None:
    async with device(target(recorder, "rate = 20"), tmp_path) as app, peer(app.address) as plc:
        started = time.monotonic()
        await write(plc, *"abcdef")
        await idle(app)
        assert time.monotonic() - started > 0.2
    assert recorder.bodies() == [c.encode() for c in "abcdef"]


async def test_a_target_that_keeps_failing_is_tried_one_attempt_at_a_time(recorder: Recorder, tmp_path: Path) -> None:
    recorder.reply = lambda _n: answer(503)
    recorder.delay = 0.02
    settings = "parallel = 4"
    toml = target(recorder, settings).replace(FAST, "backoff = 5\nbackoff_max = 60")
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        await write(plc, *(str(n) for n in range(14)))
        await until(lambda: len(recorder.requests) >= 4)
        await asyncio.sleep(0.3)
        # 4 workers may be under way when the fifth failure is counted.
        assert len(recorder.requests) <= 5 + 4 + 1
        assert app.board.targets[7].queued > 0


async def test_messages_that_are_given_up_delay_no_others(recorder: Recorder, tmp_path: Path) -> None:
    recorder.reply = lambda n: answer(400 if n < 12 else 200)
    toml = target(recorder).replace(FAST, "backoff = 3600\nbackoff_max = 3600")
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        await write(plc, *(str(n) for n in range(13)))
        await idle(app)
        assert (app.board.targets[7].failed, app.board.targets[7].delivered) == (12, 1)
    assert len(recorder.requests) == 13


async def test_a_dead_receiver_costs_the_others_nothing(recorder: Recorder, tmp_path: Path) -> None:
    other = '[targets.8]\nmethod = "post-raw"\nurl = "http://127.0.0.1:9/"\n'
    async with device(target(recorder) + other, tmp_path) as app, peer(app.address) as plc:
        for _ in range(625):
            plc.writer.write(b"".join(plc.frame(fc16(8000, "dead")) for _ in range(16)))
            for _ in range(16):
                assert (await plc.answer())[2][0] == 16
        assert app.board.targets[8].queued == 10_000
        await write(plc, *(str(n) for n in range(100)))
        await idle(app)
        assert app.board.targets[8].queued == 10_000
        held = app.dispatcher._lanes[8]._window
        assert len(held) <= 64
    assert recorder.bodies() == [str(n).encode() for n in range(100)]


async def test_redirects_are_not_followed_unless_wanted_and_never_to_another_host(
    recorder: Recorder, tmp_path: Path
) -> None:
    async with Recorder().serve() as elsewhere:
        places = {b"/same": "/end", b"/other": f"{elsewhere.url}/steal"}

        def reply(n: int) -> bytes:
            path = recorder.requests[n].split(b" ")[1]
            return answer(307, Location=places[path]) if path in places else answer(200, "ok")

        recorder.reply = reply
        toml = target(recorder, path="/same") + target(recorder, "follow_redirects = true", "/same").replace(
            ".7", ".8", 1
        )
        toml += target(recorder, 'follow_redirects = true\nbearer_token = "t"', "/other").replace(".7", ".9", 1)
        async with device(toml, tmp_path) as app, peer(app.address) as plc:
            for block in (7000, 8000, 9000):
                await write(plc, "x", block=block)
            for number in (7, 8, 9):
                await idle(app, number)
            found = {number: app.board.targets[number].http_status for number in (7, 8, 9)}
            assert found == {7: 307, 8: 200, 9: 307}
            assert app.board.targets[9].failed == 1
        assert elsewhere.requests == []


@pytest.mark.parametrize(("redirects", "delivered"), [(5, 1), (6, 0)])
async def test_five_redirects_are_followed_and_every_answer_counts(
    recorder: Recorder, tmp_path: Path, redirects: int, delivered: int
) -> None:
    recorder.reply = lambda n: answer(307, Location=f"/hop{n + 1}") if n < redirects else answer(200, "ok")
    async with device(target(recorder, "follow_redirects = true"), tmp_path) as app, peer(app.address) as plc:
        await write(plc, "x")
        await idle(app)
        assert app.board.targets[7].delivered == delivered
        assert app.board.targets[7].failed == 1 - delivered
    assert len(recorder.requests) == 6


async def test_private_ca_and_client_certificate(tmp_path: Path) -> None:
    ca, other = trustme.CA(), trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(server)
    ca.configure_trust(server)
    server.verify_mode = ssl.CERT_REQUIRED
    client = ca.issue_cert("client")
    client.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "client.pem"))
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    other.cert_pem.write_to_path(str(tmp_path / "other.pem"))
    async with Recorder().serve(server) as recorder:
        toml = target(recorder, 'attempts = 1\ntls_ca = "ca.pem"\ntls_cert = "client.pem"')
        toml += target(recorder, 'attempts = 1\ntls_ca = "other.pem"').replace(".7", ".8", 1)
        toml += target(recorder, "attempts = 1").replace(".7", ".9", 1)
        async with device(toml, tmp_path) as app, peer(app.address) as plc:
            for block in (7000, 8000, 9000):
                await write(plc, "x", block=block)
            for number in (7, 8, 9):
                await idle(app, number)
            errors = [app.board.targets[number].error for number in (7, 8, 9)]
            assert errors == [ErrorCode.NONE, ErrorCode.TLS, ErrorCode.TLS], app.board.targets[7].error_text
    assert len(recorder.requests) == 1


async def test_a_proxy_gets_the_whole_url(recorder: Recorder, tmp_path: Path) -> None:
    recorder.reply = lambda n: answer(200, "1" if n else "Webhook message delivery failed with error: HTTP error 429")
    toml = f"""
    [targets.7]
    method = "teams"
    url = "http://x.webhook.office.com/hook?sig=a%2Fb"
    payload = "$VALUE"
    proxy = "{recorder.url}"
    {FAST}
    """
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        await write(plc, "hello")
        await idle(app)
        assert app.board.targets[7].delivered == 1
    assert recorder.requests[0].startswith(b"POST http://x.webhook.office.com/hook?sig=a%2Fb HTTP/1.1\r\n")
    assert json.loads(recorder.bodies()[1]) == {"text": "hello"}


async def test_an_idle_connection_that_was_closed_is_no_failure(recorder: Recorder, tmp_path: Path) -> None:
    async with device(target(recorder, "attempts = 1"), tmp_path) as app, peer(app.address) as plc:
        await write(plc, "a")
        await idle(app)
        for writer in list(recorder._writers):
            writer.close()
        await write(plc, "b")
        await idle(app)
        assert app.board.targets[7].delivered == 2
    assert recorder.bodies() == [b"a", b"b"]


async def test_what_a_server_has_read_is_sent_as_often_as_attempts_says(recorder: Recorder, tmp_path: Path) -> None:
    # A relay that switches and closes: each request that it reads makes it switch.
    recorder.reply = lambda n: b"" if n else answer(200)
    async with device(target(recorder, "attempts = 4"), tmp_path) as app, peer(app.address) as plc:
        await write(plc, "on", "off")
        await idle(app)
        assert (app.board.targets[7].error, app.board.targets[7].failed) == (ErrorCode.CONNECT, 1)
    assert recorder.bodies() == [b"on"] + [b"off"] * 4


async def test_a_corrected_url_mends_what_waits(recorder: Recorder, tmp_path: Path) -> None:
    wrong = target(recorder).replace(recorder.url, "http://127.0.0.1:9").replace(FAST, "backoff = 60")
    async with device(wrong, tmp_path) as app, peer(app.address) as plc:
        await write(plc, "x")
        await until(lambda: app.board.targets[7].retrying == 1)
        path = tmp_path / "vdevice.toml"
        path.write_text(with_given('[modbus]\nlisten = "127.0.0.1:0"\n' + target(recorder)))
        assert await app.reload()
        await idle(app)
        assert (await plc.inputs(7000, 2))[1] == 200
    assert recorder.bodies() == [b"x"]


async def test_a_wrong_config_is_refused_and_the_old_one_stays(recorder: Recorder, tmp_path: Path) -> None:
    async with device(target(recorder), tmp_path) as app, peer(app.address) as plc:
        (tmp_path / "vdevice.toml").write_text("[targets.7]\nmethod = 3")
        assert not await app.reload()
        await write(plc, "x")
        await idle(app)
    assert recorder.bodies() == [b"x"]


async def test_a_target_that_is_switched_off_keeps_what_waits(recorder: Recorder, tmp_path: Path) -> None:
    recorder.reply = lambda _n: answer(503)
    async with device(target(recorder), tmp_path) as app, peer(app.address) as plc:
        await write(plc, "x")
        await recorder.wait(1)
        path = tmp_path / "vdevice.toml"
        on = path.read_text()
        path.write_text(on + "enabled = false\n")
        assert await app.reload()
        assert await plc.ask(fc16(7000, "y")) == b"\x90\x04"
        assert (await plc.inputs(7000, 1))[0] == TargetStatus.DISABLED
        recorder.reply = lambda _n: answer(200)
        await asyncio.sleep(0.2)
        assert app.board.targets[7].queued == 1
        path.write_text(on)
        assert await app.reload()
        await idle(app)
    assert recorder.bodies()[-1] == b"x"


def pause(app: App, *, paused: bool) -> bool:
    with open_letters(app.config) as letters:
        return letters.pause(7, paused=paused)


async def test_a_paused_target_takes_strings_and_sends_none_until_it_is_resumed(
    recorder: Recorder, tmp_path: Path
) -> None:
    other = target(recorder).replace(".7", ".8", 1)
    async with device(target(recorder) + other, tmp_path) as app, peer(app.address) as plc:
        assert await asyncio.to_thread(pause, app, paused=True)
        assert not await asyncio.to_thread(pause, app, paused=True)
        await until(lambda: app.board.targets[7].paused)
        await write(plc, "a", "b")
        await write(plc, "other", block=8000)
        await idle(app, 8)
        assert (await plc.inputs(7000, 9))[::8] == [TargetStatus.PAUSED, 2]
        assert recorder.bodies() == [b"other"]
    async with device(target(recorder), tmp_path) as app, peer(app.address) as plc:
        await write(plc, "c")
        await asyncio.sleep(0.2)
        assert (await plc.inputs(7000, 9))[::8] == [TargetStatus.PAUSED, 3]
        assert await asyncio.to_thread(pause, app, paused=False)
        await idle(app)
    assert recorder.bodies() == [b"other", b"a", b"b", b"c"]


async def test_a_retry_that_waits_is_paused_too(recorder: Recorder, tmp_path: Path) -> None:
    recorder.reply = lambda _n: answer(503)
    toml = target(recorder, "attempts = 1000").replace(FAST, "backoff = 0.3\nbackoff_max = 0.3")
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        await write(plc, "a")
        await recorder.wait(1)
        await asyncio.to_thread(pause, app, paused=True)
        await until(lambda: app.board.targets[7].paused)
        await asyncio.sleep(0.4)
        before = len(recorder.requests)
        await asyncio.sleep(0.8)
        assert len(recorder.requests) == before
        recorder.reply = lambda _n: answer(200)
        await asyncio.to_thread(pause, app, paused=False)
        await idle(app)
    assert len(recorder.requests) == before + 1


async def test_what_waits_for_a_target_that_is_gone_waits_until_it_is_back(recorder: Recorder, tmp_path: Path) -> None:
    recorder.reply = lambda _n: answer(503)
    async with device(target(recorder), tmp_path) as app, peer(app.address) as plc:
        await write(plc, "a", "b")
        path = tmp_path / "vdevice.toml"
        on = path.read_text()
        path.write_text(with_given('[modbus]\nlisten = "127.0.0.1:0"\n'))
        assert await app.reload()
        assert await plc.ask(fc16(7000, "c")) == b"\x90\x02"
        assert (await plc.inputs(7000, 1))[0] == TargetStatus.NOT_CONFIGURED
        assert (app.board.targets[7].queued, app.board.targets[7].failed) == (2, 0)
        recorder.reply = lambda _n: answer(200)
        tries = len(recorder.requests)
        path.write_text(on)
        assert await app.reload()
        await until(lambda: app.board.targets[7].delivered == 2)
    assert len(recorder.requests) == tries + 2
    assert recorder.bodies()[-2:] == [b"a", b"b"]


async def test_what_waits_too_long_for_a_target_that_is_gone_is_a_dead_letter_that_can_be_replayed(
    recorder: Recorder, tmp_path: Path
) -> None:
    recorder.reply = lambda _n: answer(503)
    async with device(target(recorder), tmp_path) as app, peer(app.address) as plc:
        await write(plc, "a", "b")
        on = (tmp_path / "vdevice.toml").read_text()
    # Over a restart, too.
    async with device("[delivery]\nmax_age = 1\n", tmp_path) as app, peer(app.address) as plc:
        await until(lambda: app.board.targets[7].failed == 2)
        status = await plc.inputs(7000, 16)
        assert (status[0], status[8], status[10]) == (TargetStatus.NOT_CONFIGURED, 0, ErrorCode.TARGET)
        assert "not in the config" in app.board.targets[7].error_text
        recorder.reply = lambda _n: answer(200)
        (tmp_path / "vdevice.toml").write_text(on)
        assert await app.reload()
        assert await asyncio.to_thread(replay_all, app) == 2
        await until(lambda: app.board.targets[7].delivered == 2)
    assert recorder.bodies()[-2:] == [b"a", b"b"]


async def test_trigger_change_delivers_once(recorder: Recorder, tmp_path: Path) -> None:
    toml = target(recorder, 'trigger = "change"')
    for _ in range(2):
        async with device(toml, tmp_path) as app, peer(app.address) as plc:
            await write(plc, *["same"] * 200)
            await idle(app)
    assert recorder.bodies() == [b"same"]


async def full(plc: Peer) -> list[int]:
    """Return the targets whose discrete input says that the last write found no room."""
    reply = await plc.ask(b"\x02\x01\x2d\x00\x40")
    return [number for number in range(1, 65) if reply[2 + (number - 1) // 8] >> (number - 1) % 8 & 1]


async def test_a_target_without_room_gets_06_while_others_are_accepted(recorder: Recorder, tmp_path: Path) -> None:
    dead = target(recorder, path="/dead").replace(FAST, "backoff = 3600")
    recorder.reply = lambda n: answer(503 if b" /dead " in recorder.requests[n] else 200)
    toml = "[outbox]\nmax_messages = 10\n" + dead + target(recorder).replace(".7", ".8", 1)
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        await write(plc, *"abcde")
        for _ in range(3):
            assert await plc.ask(fc16(7000, "f")) == b"\x90\x06"
        await write(plc, *map(str, range(20)), block=8000)
        await idle(app, 8)
        assert await full(plc) == [7]
        assert [(await plc.inputs(block, 49))[48] for block in (7000, 8000)] == [3, 0]
        # The device as a whole is well: one target says nothing about the others.
        assert (await plc.inputs(0, 7))[6] == 0
        assert await plc.ask(b"\x02\x00\x00\x00\x01") == b"\x02\x01\x01"
        assert app.board.targets[7].queued == 5


async def test_a_full_outbox_answers_06_and_the_plc_may_write_again(recorder: Recorder, tmp_path: Path) -> None:
    recorder.reply = lambda _n: answer(503)
    toml = "[outbox]\nmax_messages = 1\n" + target(recorder)
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        await write(plc, "a")
        assert await plc.ask(fc16(7000, "d")) == b"\x90\x06"
        assert (await plc.inputs(0, 7))[6] == 1
        assert await full(plc) == [7]
        recorder.reply = lambda _n: answer(200)
        await idle(app)
        await write(plc, "d")
        await idle(app)
        assert (await plc.inputs(0, 7))[6] == 0
        assert await full(plc) == []
        assert (await plc.inputs(7000, 49))[48] == 1
    assert recorder.bodies()[-1] == b"d"


async def test_refused_writes_are_counted_for_each_target(
    recorder: Recorder, tmp_path: Path, outbox: OnSqlite | OnNats
) -> None:
    toml = target(recorder) + target(recorder, "enabled = false").replace(".7", ".8", 1)
    async with device(toml, tmp_path) as app, peer(app.address) as plc:

        async def refused() -> list[int]:
            return [(await plc.inputs(block, 49))[48] for block in (7000, 8000, 9000)]

        assert await plc.ask(fc16(7000, b"\xff\xfe")) == b"\x90\x03"
        assert await plc.ask(b"\x10\x1b\x58\x00\x02\x03abc") == b"\x90\x03"
        assert await refused() == [2, 0, 0]
        assert await plc.ask(fc16(8000, "x")) == b"\x90\x04"
        assert await refused() == [2, 1, 0]
        # What has no such register is no write to a target.
        assert await plc.ask(fc16(7950, "x")) == b"\x90\x02"
        assert await plc.ask(fc16(9000, "x")) == b"\x90\x02"
        await write(plc, "a")
        await idle(app)
        assert await refused() == [2, 1, 0]
        outbox.hurt(app)
        assert await plc.ask(fc16(7000, "x" * 240)) == b"\x90\x04"
        assert await refused() == [3, 1, 0]
        outbox.mend(app)
        await until(lambda: not app.board.outbox_failing)
        burst = [plc.frame(fc16(7000, "x" * 240)) for _ in range(40)]
        plc.writer.write(b"".join(burst))
        codes = [(await plc.answer())[2] for _ in burst]
        assert set(codes) <= {fc16(7000, "x" * 240)[:5], b"\x90\x06"}
        assert await refused() == [3 + codes.count(b"\x90\x06"), 1, 0]
        await idle(app)


async def test_a_failing_outbox_answers_04_while_status_goes_on(
    recorder: Recorder, tmp_path: Path, outbox: OnSqlite | OnNats
) -> None:
    async with device(target(recorder), tmp_path) as app, peer(app.address) as plc:
        await write(plc, "a")
        await idle(app)
        outbox.hurt(app)
        for _ in range(20):
            assert await plc.ask(fc16(7000, "x" * 240)) == b"\x90\x04"
        assert (await plc.inputs(0, 7))[6] & 2
        assert await plc.ask(b"\x02\x00\x00\x00\x01") == b"\x02\x01\x00"
        outbox.mend(app)
        await until(lambda: not app.board.outbox_failing)
        await idle(app)
        await write(plc, "b")
        await idle(app)
        assert app.board.targets[7].delivered == 2
    assert recorder.bodies() == [b"a", b"b"]


async def test_restart_goes_on_where_it_was(recorder: Recorder, tmp_path: Path) -> None:
    recorder.reply = lambda _n: answer(503)
    toml = target(recorder).replace(FAST, "backoff = 0.3")
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        await write(plc, *"abc")
        await recorder.wait(1)
    recorder.reply = lambda _n: answer(200)
    async with device(toml, tmp_path) as app:
        await idle(app)
    assert list(dict.fromkeys(recorder.bodies())) == [b"a", b"b", b"c"]
