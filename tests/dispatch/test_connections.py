import asyncio
import contextlib
import gc
import socket
import ssl

import pytest
import trustme

from tests.support import OK, Recorder, answer, until
from vdevice.config.schema import Network
from vdevice.dispatch import connection, connections
from vdevice.dispatch.connections import Connections
from vdevice.dispatch.egress import DeniedError
from vdevice.dispatch.http1 import Response
from vdevice.webhooks.request import Request


async def ask(pool: Connections, recorder: Recorder, seconds: float = 5) -> Response:
    headers = [("Host", recorder.hostport), ("Content-Length", "2")]
    request = Request("POST", f"{recorder.url}/p?q=1", headers, b"hi")
    return await pool.send(request, None, asyncio.get_running_loop().time() + seconds)


async def test_a_connection_is_used_again(recorder: Recorder) -> None:
    pool = Connections()
    for _ in range(5):
        assert (await ask(pool, recorder)).body == b"ok"
    assert len(recorder._writers) == 1
    assert recorder.requests[0] == b"POST /p?q=1 HTTP/1.1\r\nHost: %b\r\nContent-Length: 2\r\n\r\nhi" % (
        recorder.hostport.encode()
    )
    pool.close()


async def test_requests_at_a_time_have_a_connection_each(recorder: Recorder) -> None:
    recorder.delay = 0.05
    pool = Connections()
    await asyncio.gather(*(ask(pool, recorder) for _ in range(4)))
    assert len(recorder._writers) == 4
    pool.close()


@pytest.mark.parametrize(
    "reply", [answer(200, "ok", Connection="close"), OK + b"more", OK + OK], ids=["close", "extra bytes", "two answers"]
)
async def test_a_connection_that_cannot_be_used_again_is_closed(recorder: Recorder, reply: bytes) -> None:
    recorder.reply = lambda _n: reply
    pool = Connections()
    assert (await ask(pool, recorder)).status == 200
    await until(lambda: not recorder._writers)
    assert (await ask(pool, recorder)).status == 200
    pool.close()


async def test_an_idle_connection_is_closed(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE", 0.05)
    monkeypatch.setattr(connections, "IDLE", 0.05)
    pool = Connections()
    await ask(pool, recorder)
    assert recorder._writers
    await until(lambda: not recorder._writers)
    assert not pool._idle


async def test_no_answer_in_time_ends_the_connection(recorder: Recorder) -> None:
    recorder.delay = 0.3
    pool = Connections()
    with pytest.raises(TimeoutError):
        await ask(pool, recorder, 0.05)
    recorder.delay = 0
    assert (await ask(pool, recorder)).body == b"ok"
    assert len(recorder.requests) == 2


@pytest.mark.parametrize(("first", "second"), [(5, 0.05), (0.1, 0.3)], ids=["a shorter time", "a longer time"])
async def test_each_request_of_a_connection_has_its_own_time(recorder: Recorder, first: float, second: float) -> None:
    pool = Connections()
    assert (await ask(pool, recorder, first)).body == b"ok"
    recorder.delay = 1
    started = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError):
        await ask(pool, recorder, second)
    assert second - 0.01 <= asyncio.get_running_loop().time() - started < second + 0.4
    assert len(recorder.requests) == 2
    pool.close()


async def test_who_is_cancelled_leaves_no_answer_behind(recorder: Recorder) -> None:
    recorder.delay = 0.1
    pool = Connections()
    task = asyncio.create_task(ask(pool, recorder))
    await recorder.wait(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    recorder.reply = lambda _n: answer(202, "mine")
    assert (await ask(pool, recorder)).body == b"mine"
    pool.close()


async def test_half_a_response_counts_from_its_status_on_and_is_not_asked_for_again(recorder: Recorder) -> None:
    pool = Connections()
    await ask(pool, recorder)
    recorder.reply = lambda _n: b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\nha"
    asking = asyncio.create_task(ask(pool, recorder))
    await recorder.wait(2)
    await asyncio.sleep(0.05)
    for writer in list(recorder._writers):
        writer.close()
    response = await asking
    assert (response.status, response.body, response.reusable) == (200, b"ha", False)
    assert response.note
    assert len(recorder.requests) == 2


async def test_what_is_denied_from_now_on_is_not_sent_on_a_connection_from_before(recorder: Recorder) -> None:
    pool = Connections()
    await ask(pool, recorder)
    recorder.delay = 0.1
    under_way = asyncio.create_task(ask(pool, recorder))
    await recorder.wait(2)
    pool.apply([Network("127.0.0.0/8")])
    assert (await under_way).status == 200
    await until(lambda: not recorder._writers)
    with pytest.raises(DeniedError):
        await ask(pool, recorder)
    assert len(recorder.requests) == 2


async def test_what_came_apart_is_acknowledged_at_once(recorder: Recorder) -> None:
    pool = Connections()
    for _ in range(20):
        await ask(pool, recorder)
    recorder.reply = lambda _n: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    asking = asyncio.create_task(ask(pool, recorder))
    await recorder.wait(21)
    (kept,) = [one for one in gc.get_objects() if isinstance(one, connection.Connection) and one.usable]
    await until(lambda: bool(kept._reader._status))
    # Linux says 0 while it delays its acknowledgements: from the second request on, until it has waited its 40 ms.
    assert kept._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK)
    for writer in recorder._writers:
        writer.write(b"ok")
    assert (await asking).body == b"ok"
    pool.close()


async def test_a_response_before_the_request_was_read_ends_the_connection() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(200, "no need to read on"))
        await responded.wait()
        writer.transport.abort()
        ended.set()

    responded, ended = asyncio.Event(), asyncio.Event()
    async with await asyncio.start_server(client, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        pool = Connections()
        body = b"x" * 50_000_000
        request = Request("POST", f"http://127.0.0.1:{port}/", [("Content-Length", str(len(body)))], body)
        response = await pool.send(request, None, asyncio.get_running_loop().time() + 10)
        assert (response.status, response.body) == (200, b"no need to read on")
        assert not pool._idle
        responded.set()
        await ended.wait()


async def test_a_network_that_is_denied_during_a_handshake_gets_no_request() -> None:
    authority = trustme.CA()
    theirs, ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    authority.configure_trust(ours)
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        hostport = f"127.0.0.1:{server.getsockname()[1]}"
        pool = Connections()
        request = Request("GET", f"https://{hostport}/", [("Host", hostport)], b"")
        sending = asyncio.create_task(pool.send(request, ours, loop.time() + 5))
        accepted, _ = await loop.sock_accept(server)
        pool.apply([Network("127.0.0.0/8")])
        reader = asyncio.StreamReader()
        shaking = asyncio.create_task(
            loop.connect_accepted_socket(lambda: asyncio.StreamReaderProtocol(reader), accepted, ssl=theirs)
        )
        with pytest.raises(DeniedError):
            await sending
        transport, _ = await shaking
        got = b""
        with contextlib.suppress(ConnectionError):
            got = await asyncio.wait_for(reader.read(), 5)
        assert not got
        transport.close()
        pool.close()
