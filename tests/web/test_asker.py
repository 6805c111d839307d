"""Where a request comes from: through proxies that are trusted, through others, and from this machine itself."""

import asyncio
import ipaddress
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import device
from tests.web.conftest import WEB
from tests.web.test_access import PASSWORD, TARGET, Browser
from vdevice.app import App
from vdevice.config.schema import Network
from vdevice.web.asker import client_of, origin_of
from vdevice.web.auth import FILE, FRESH, Access
from vdevice.web.guesses import TRIES

PROXY = f'{WEB}hosts = ["gw.local"]\ntrusted_proxies = ["127.0.0.1", "10.9.0.0/16"]\n{TARGET}'
NO_PROXY = f'{WEB}hosts = ["gw.local"]\n{TARGET}'
LOGIN = {"name": "admin", "password": PASSWORD}
WRONG = {"name": "admin", "password": "wrong horse"}


async def post(app: App, body: dict[str, str], headers: dict[str, str], path: str = "login") -> int:
    url = f"http://{app.page_address}/api/v1/{path}"
    async with aiohttp.ClientSession() as http, http.post(url, json=body, headers=headers) as answer:
        return answer.status


async def test_guesses_behind_a_trusted_proxy_keep_out_their_own_address_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Access(tmp_path).set_password("admin", PASSWORD, "admin")
    async with device(PROXY, tmp_path) as app:
        # What stands before the last address, the guesser may have written.
        for number in range(TRIES):
            assert await post(app, WRONG, {"X-Forwarded-For": f"1.2.3.{number}, 10.0.0.5"}) == 401
        assert await post(app, WRONG, {"X-Forwarded-For": "9.9.9.9,10.0.0.5:4711, 10.9.1.1"}) == 429
        assert await post(app, LOGIN, {"X-Forwarded-For": "10.0.0.6"}) == 200
        assert await post(app, LOGIN, {}) == 200
    assert "address=10.0.0.5" in capsys.readouterr().out


async def test_what_others_forward_is_not_believed(tmp_path: Path) -> None:
    Access(tmp_path).set_password("admin", PASSWORD, "admin")
    async with device(NO_PROXY, tmp_path) as app:
        for number in range(TRIES):
            assert await post(app, WRONG, {"X-Forwarded-For": f"10.0.0.{number}"}) == 401
        assert await post(app, LOGIN, {"X-Forwarded-For": "10.0.0.99"}) == 429
        Access(tmp_path).set_password("guest", PASSWORD, "viewer")
        assert await post(app, {**LOGIN, "name": "guest"}, {}) == 200, "another name"
        forwarded = {"X-Forwarded-Host": "gw.local", "X-Forwarded-Proto": "https", "Origin": "https://gw.local"}
        assert await post(app, LOGIN, forwarded) == 403
        assert await post(app, LOGIN, {"Host": "evil.example", "X-Forwarded-Host": "gw.local"}) == 421


async def test_the_origin_is_the_one_that_a_trusted_proxy_was_asked_for(tmp_path: Path) -> None:
    Access(tmp_path).set_password("admin", PASSWORD, "admin")
    forwarded = {"X-Forwarded-Host": "gw.local", "X-Forwarded-Proto": "https", "X-Forwarded-For": "10.0.0.5"}
    async with device(PROXY, tmp_path) as app, aiohttp.ClientSession() as http:
        url = f"http://{app.page_address}/api/v1/login"
        async with http.post(url, json=LOGIN, headers={**forwarded, "Origin": "https://gw.local"}) as answer:
            assert answer.status == 200
            assert answer.cookies["vdevice"]["secure"]
        for origin in ("http://gw.local", "https://gw.local:8443", f"http://{app.page_address}", "null"):
            assert await post(app, LOGIN, {**forwarded, "Origin": origin}) == 403, origin
        assert await post(app, LOGIN, {**forwarded, "X-Forwarded-Host": "evil.example"}) == 421
        assert await post(app, LOGIN, {**forwarded, "X-Forwarded-Host": "evil.example, gw.local"}) == 200
        assert await post(app, LOGIN, {**forwarded, "X-Forwarded-Proto": "gopher"}) == 400


@pytest.mark.parametrize("toml", [PROXY, NO_PROXY], ids=["a trusted proxy", "another proxy"])
async def test_without_users_what_comes_from_elsewhere_is_refused(tmp_path: Path, toml: str) -> None:
    trusted = toml == PROXY
    async with device(toml, tmp_path) as app, aiohttp.ClientSession() as http:
        browser = Browser(http, app.page_address)
        for headers, status in (
            ({}, 200),
            ({"Host": "localhost"}, 200),
            ({"Host": "gw.local"}, 403),
            ({"X-Forwarded-For": "10.0.0.5"}, 403),
            ({"X-Forwarded-For": "127.0.0.1, 10.0.0.5"}, 403),
            ({"X-Forwarded-For": "127.0.0.1", "Host": "gw.local"}, 403),
            ({"X-Forwarded-For": "127.0.0.1"}, 200 if trusted else 403),
            ({"X-Forwarded-Host": "gw.local"}, 403),
            # A proxy that says that it stands between, but not who asks.
            ({"X-Forwarded-Proto": "http"}, 403),
            ({"X-Real-IP": "10.0.0.5"}, 403),
            ({"Via": "1.1 gw"}, 403),
            ({"X-Forwarded-For": "unix:"}, 403),
            ({"X-Forwarded-For": "127.0.0.1, unknown"}, 403),
            ({"X-Forwarded-For": "unknown, 127.0.0.1"}, 403),
        ):
            for method, path, body in (
                ("GET", "api/v1/state", None),
                ("GET", "metrics", None),
                ("POST", "api/v1/login", LOGIN),
                ("POST", "api/v1/targets/7/pause", None),
            ):
                assert (await browser.ask(method, path, body, headers))[0] == status, (path, headers)
            assert (await browser.ask("GET", "healthz", headers=headers))[0] == 200


async def test_a_users_file_that_goes_away_lets_nobody_in_where_others_can_reach_the_page(tmp_path: Path) -> None:
    Access(tmp_path).set_password("admin", PASSWORD, "admin")
    async with device(WEB.replace("127.0.0.1", "0.0.0.0") + TARGET, tmp_path) as app, aiohttp.ClientSession() as http:
        browser = Browser(http, app.page_address.replace("0.0.0.0", "127.0.0.1"))
        file = (tmp_path / FILE).read_bytes()
        (tmp_path / FILE).unlink()
        await asyncio.sleep(FRESH)
        assert await browser.sign_in() == 403
        for method, path in (("GET", "state"), ("GET", "config"), ("POST", "targets/7/pause"), ("GET", "live")):
            assert (await browser.ask(method, f"api/v1/{path}"))[0] == 403
        assert (await browser.ask("POST", "api/v1/tokens", {"name": "x", "role": "admin"}))[0] == 403
        assert not (tmp_path / FILE).exists()
        (tmp_path / FILE).write_bytes(file)
        await asyncio.sleep(FRESH)
        assert await browser.sign_in() == 200


PROXIES = [Network("10.0.0.0/8"), Network("fd00::/8")]


@given(
    st.text(max_size=30), st.lists(st.ip_addresses(), max_size=4), st.ip_addresses().filter(lambda ip: "." in str(ip))
)
def test_what_a_client_writes_before_its_own_address_changes_nothing(
    written: str, through: list[ipaddress.IPv4Address], client: ipaddress.IPv4Address
) -> None:
    if any(str(client) in network for network in PROXIES):
        return
    chain = [str(client), *(str(ip) for ip in through if any(str(ip) in network for network in PROXIES))]
    assert client_of("10.0.0.1", [f"{written}, {', '.join(chain)}"], PROXIES) == str(client)


@given(st.lists(st.text(max_size=30), max_size=3))
def test_any_header_gives_an_address(lines: list[str]) -> None:
    ipaddress.ip_address(client_of("10.0.0.1", lines, PROXIES))


@given(st.text(max_size=40))
def test_any_text_is_an_origin_or_none(text: str) -> None:
    for tried in (text, f"http://{text}", f"http://a:{text}"):
        found = origin_of(tried)
        assert found is None or (found[0] in {"http", "https"} and found[1] and 0 <= found[2] <= 65_535)
