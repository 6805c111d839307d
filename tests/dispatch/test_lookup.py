"""A name server that hangs takes one thread for a name, not one for each attempt."""

import asyncio
import socket

import pytest

from vdevice.dispatch.lookup import _under_way, look_up


async def test_who_waits_for_a_name_shares_one_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answer = asyncio.Event()

    async def getaddrinfo(_loop: object, host: str, port: int, **_more: object) -> list[tuple[object, ...]]:
        asked.append(host)
        await answer.wait()
        if host == "nowhere.example":
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]

    monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", getaddrinfo)
    for _ in range(100):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await look_up("hangs.example", 443)
    assert asked == ["hangs.example"]
    waiting = [asyncio.create_task(look_up("hangs.example", 443)) for _ in range(3)]
    lost = asyncio.create_task(look_up("nowhere.example", 80))
    await asyncio.sleep(0)
    answer.set()
    assert {found[0][4] for found in await asyncio.gather(*waiting)} == {("192.0.2.1", 443)}
    with pytest.raises(socket.gaierror):
        await lost
    assert sorted(asked) == ["hangs.example", "nowhere.example"]
    # The next one is asked anew.
    await look_up("hangs.example", 443)
    assert asked.count("hangs.example") == 2
    assert not _under_way


async def test_a_failed_look_up_that_nobody_waits_for_is_forgotten(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def getaddrinfo(_loop: object, _host: str, _port: int, **_more: object) -> list[tuple[object, ...]]:
        await asyncio.sleep(0.01)
        raise socket.gaierror(socket.EAI_AGAIN, "later")

    monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", getaddrinfo)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await look_up("hangs.example", 443)
    while _under_way:
        await asyncio.sleep(0.005)
    assert not caplog.records
