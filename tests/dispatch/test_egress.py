import asyncio
import ipaddress
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import Recorder, device, event_of, fc16, peer, target_of, until
from vdevice.config.load import parse
from vdevice.config.schema import DENIED, Delivery, Network
from vdevice.dispatch.connections import connected, resolve
from vdevice.dispatch.egress import DeniedError, is_denied, meanings
from vdevice.dispatch.sender import Sender
from vdevice.errors import ConfigError
from vdevice.model import ErrorCode, Verdict
from vdevice.webhooks.http import build

DEFAULT = Delivery().deny_networks


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "fe80::1",
        "fe80::1%eth0",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "2001:0:a9fe:a9fe::",
        "fd00:ec2::254",
        "100.100.100.200",
        "::169.254.169.254",
        "::ffff:0:169.254.169.254",
        "64:ff9b:1::a9fe:a9fe",
        "64:ff9b:1:a9fe:a9:fe00::",
        "64:ff9b:1:a9:fe:a9fe::",
        "64:ff9b:1:0:a9:fea9:fe00:0",
        "fe80::5efe:a9fe:a9fe",
        "2001:db8::200:5efe:a9fe:a9fe",
        "64:ff9b::a9fe:a9fe%eth0",
        "2002:a9fe:a9fe::5efe:8.8.8.8",
    ],
)
def test_link_local_and_metadata_addresses_are_denied_however_they_are_written(address: str) -> None:
    assert is_denied(address, DEFAULT)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.0.0.5", "192.168.1.1", "172.16.0.1", "fd12::1", "8.8.8.8"])
def test_private_and_public_addresses_are_allowed(address: str) -> None:
    assert not is_denied(address, DEFAULT)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "::ffff:0.0.0.0", "64:ff9b::", "::%1", "2002::"])
@pytest.mark.parametrize("network", ["127.0.0.0/8", "::1/128"])
def test_an_unspecified_address_is_this_machine(address: str, network: str) -> None:
    assert is_denied(address, [Network(network)])
    assert not is_denied(address, DEFAULT)


@given(
    st.ip_addresses(v=4),
    st.sampled_from(["::ffff:{}", "64:ff9b::{}", "::{}", "::ffff:0:{}", "64:ff9b:1::{}", "2001:db8::5efe:{}"]),
)
def test_an_address_in_another_is_denied_as_itself(address: ipaddress.IPv4Address, form: str) -> None:
    networks = [Network(text) for text in (*DENIED, "10.0.0.0/8")]
    # 64:ff9b:1::/48 may be divided in four ways, of which one must be meant.
    if is_denied(str(address), networks) or not form.startswith("64:ff9b:1"):
        assert is_denied(form.format(address), networks) == is_denied(str(address), networks)


@given(st.ip_addresses(v=6))
def test_any_address_can_be_looked_at(address: ipaddress.IPv6Address) -> None:
    assert str(address) in meanings(str(address))
    assert is_denied(str(address), [Network("::/0"), Network("0.0.0.0/0")])


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "[::]", "[::ffff:0.0.0.0]", "[::ffff:127.0.0.1]", "0", "127.1", "0x7f000001"]
)
async def test_no_way_to_write_this_machine_gets_past_its_network(recorder: Recorder, host: str) -> None:
    port = recorder.hostport.rpartition(":")[2]
    config, target = target_of(f'url = "http://{host}:{port}/p"\ntimeout = 2')
    delivery = parse('[delivery]\ndeny_networks = ["127.0.0.0/8", "::1"]', Path()).delivery
    async with Sender(delivery) as sender:
        outcome = await sender.send(target, build(config, target, event_of("x"), 0))
    assert (outcome.verdict, outcome.error) == (Verdict.GIVE_UP, ErrorCode.CONNECT)
    assert "deny_networks" in outcome.text
    assert recorder.requests == []


async def test_what_is_connected_to_is_looked_at_and_not_only_what_was_asked_for() -> None:
    async with await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        # Linux connects 0.0.0.0 to 127.0.0.1, and says so.
        addresses = await resolve("0.0.0.0", port, ())
        with pytest.raises(DeniedError):
            await connected(addresses, [Network("127.0.0.1")])


@pytest.mark.parametrize(
    ("host", "patterns", "fits"),
    [
        ("hooks.slack.com", '["hooks.slack.com"]', True),
        ("HOOKS.slack.com.", '["hooks.slack.com"]', True),
        ("a.example.com", '["*.example.com"]', True),
        ("example.com", '["*.example.com"]', False),
        ("evilexample.com", '["*.example.com", "example.com"]', False),
        ("hooks.slack.com.evil.net", '["hooks.slack.com"]', False),
    ],
)
def test_a_host_must_be_allowed_where_some_are(host: str, patterns: str, fits: bool) -> None:  # noqa: FBT001 (a table)
    toml = f'[delivery]\nallow_hosts = {patterns}\n[targets.7]\nmethod = "get"\nurl = "https://{host}/x"'
    if fits:
        parse(toml, Path())
    else:
        with pytest.raises(ConfigError, match=r"targets\.7\.url.*allow_hosts"):
            parse(toml, Path())


def test_a_denied_address_in_a_url_is_a_problem_of_the_config() -> None:
    with pytest.raises(ConfigError, match="denies"):
        parse('[targets.7]\nmethod = "get"\nurl = "http://169.254.169.254/latest"', Path())
    parse('[delivery]\ndeny_networks = []\n[targets.7]\nmethod = "get"\nurl = "http://169.254.1.1/"', Path())


async def test_a_name_that_resolves_elsewhere_the_second_time_does_not_get_through(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(recorder.hostport.rpartition(":")[2])
    resolved = ["127.0.0.1", "169.254.169.254"]

    async def getaddrinfo(_loop: object, _host: str, port: int, **_more: object) -> list[tuple[object, ...]]:
        # The name server is the attacker's.
        address = resolved.pop(0) if len(resolved) > 1 else resolved[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", getaddrinfo)
    recorder.reply = lambda _n: b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    toml = f'[targets.7]\nmethod = "get"\nurl = "http://rebinding.test:{port}/"'
    async with device(toml, tmp_path) as app, peer(app.address) as plc:
        await plc.ask(fc16(7000, "a"))
        await until(lambda: app.board.targets[7].delivered == 1)
        await plc.ask(fc16(7000, "b"))
        await until(lambda: app.board.targets[7].failed == 1)
        assert app.board.targets[7].error is ErrorCode.CONNECT
        assert "deny_networks" in app.board.targets[7].error_text
    assert len(recorder.requests) == 1
