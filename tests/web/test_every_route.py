"""Each operation of the OpenAPI document, asked by everybody who should not: nobody, others' sites, sessions that ended."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest_asyncio

from tests.support import device
from tests.web.conftest import WEB
from vdevice.app import App
from vdevice.web.auth import FILE, FRESH, Access, Users
from vdevice.web.server import COOKIE

PASSWORD = "correct horse"
TOML = f'{WEB}hosts = ["gw.local"]\n[targets.7]\nmethod = "get"\nurl = "http://127.0.0.1:9/"\nenabled = false\n'
OWN = {"X-Vdevice": "1"}
PARTS = {"{number}": "7", "{id}": "0" * 32, "{form}": "md", "{name}": "nothing"}
API = "/api/v1"
UNLISTED = [("GET", f"{API}/openapi.json", "viewer"), ("GET", f"{API}/live", "viewer"), ("GET", "/metrics", "viewer")]
"""What the document does not list: itself, and what is no JSON."""

Operation = tuple[str, str, str]


class Site:
    """A device with an admin and a viewer, and all of its operations: method, path, and who may."""

    def __init__(self, app: App, http: aiohttp.ClientSession, folder: Path) -> None:
        self.app, self.http, self.folder = app, http, folder
        self.operations: list[Operation] = []

    async def ask(self, method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> int:
        url = f"http://{self.app.page_address}{path}"
        async with self.http.request(method, url, headers=headers, data=body, allow_redirects=False) as answer:
            return answer.status

    async def sign_in(self, name: str) -> dict[str, str]:
        """Return the header of a new session."""
        login = {"name": name, "password": PASSWORD}
        async with self.http.post(f"http://{self.app.page_address}/api/v1/login", json=login) as answer:
            assert answer.status == 200
            return {"Cookie": f"{COOKIE}={answer.cookies[COOKIE].value}", **OWN}

    async def token(self, session: dict[str, str], name: str, role: str) -> dict[str, str]:
        """Return the header of a new token."""
        url = f"http://{self.app.page_address}/api/v1/tokens"
        async with self.http.post(url, json={"name": name, "role": role}, headers=session) as answer:
            return {"Authorization": f"Bearer {(await answer.json())['token']}", **OWN}

    async def all(self, headers: dict[str, str]) -> dict[Operation, int]:
        """Return what each operation but signing in answers."""
        return {one: await self.ask(one[0], one[1], headers) for one in self.operations}

    async def refused(self, headers: dict[str, str], status: int) -> None:
        """Assert that each operation is refused with this status, and that nothing was changed."""
        before = (self.folder / "vdevice.toml").read_bytes(), (self.folder / FILE).read_bytes()
        wrong = {one: got for one, got in (await self.all(headers)).items() if got != status}
        assert wrong == {}
        assert before == ((self.folder / "vdevice.toml").read_bytes(), (self.folder / FILE).read_bytes())


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    access = Access(tmp_path)
    access.set_password("admin", PASSWORD, "admin")
    access.set_password("second", PASSWORD, "admin")
    access.set_password("guest", PASSWORD, "viewer")
    async with (
        device(TOML, tmp_path) as app,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
    ):
        site = Site(app, http, tmp_path)
        session = await site.sign_in("admin")
        async with http.get(f"http://{app.page_address}/api/v1/openapi.json", headers=session) as answer:
            site.operations = [*operations(await answer.json()), *UNLISTED]
        assert len(site.operations) > 30
        yield site


def operations(document: dict[str, Any]) -> list[Operation]:
    found = []
    for path, methods in document["paths"].items():
        filled = path
        for name, value in PARTS.items():
            filled = filled.replace(name, value)
        assert "{" not in filled, path
        found += [(method.upper(), API + filled, operation.get("x-needs", "")) for method, operation in methods.items()]
    return [one for one in found if one[1] != f"{API}/login"]


def users_of(site: Site) -> Users:
    return msgspec.json.decode((site.folder / FILE).read_bytes(), type=Users)


async def keep(site: Site, users: Users | str) -> None:
    """Write the file, and wait until the device looks at it."""
    (site.folder / FILE).write_bytes(users.encode() if isinstance(users, str) else msgspec.json.encode(users))
    await asyncio.sleep(FRESH)


async def test_nobody(site: Site) -> None:
    for headers in ({}, {"Cookie": f"{COOKIE}=x"}, {"Authorization": "Bearer x"}, {"Authorization": "Basic YTph"}):
        await site.refused({**headers, **OWN}, 401)
    # Nor by saying to come from this machine.
    await site.refused({"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1", **OWN}, 401)


async def test_a_viewer_by_session_and_by_token(site: Site) -> None:
    session = await site.sign_in("guest")
    token = await site.token(await site.sign_in("admin"), "reader", "viewer")
    for headers in (session, token):
        answers = await all_but_live(site, headers)
        refused = {one for one, status in answers.items() if status == 403}
        assert refused == {one for one in answers if one[2] == "admin"}
        assert not {one: status for one, status in answers.items() if status in {401, 415} or status >= 500}


async def test_an_admin_is_refused_nothing(site: Site) -> None:
    answers = await all_but_live(site, await site.sign_in("admin"))
    assert not {one: status for one, status in answers.items() if status in {401, 403, 415, 421} or status >= 500}


async def all_but_live(site: Site, headers: dict[str, str]) -> dict[Operation, int]:
    # The stream ends with the device; its answer to who may watch is its head.
    site.operations = [one for one in site.operations if one[1] != f"{API}/live"]
    url = f"http://{site.app.page_address}/api/v1/live"
    async with site.http.get(url, headers=headers) as answer:
        assert answer.status == 200
    return await site.all(headers)


async def test_an_ended_session(site: Site) -> None:
    session = await site.sign_in("admin")
    assert await site.ask("POST", f"{API}/logout", session) == 204
    await site.refused(session, 401)


async def test_a_session_with_an_old_password(site: Site) -> None:
    session = await site.sign_in("second")
    Access(site.folder).set_password("second", "another horse", "admin")
    await asyncio.sleep(FRESH)
    await site.refused(session, 401)


async def test_a_revoked_token(site: Site) -> None:
    admin = await site.sign_in("admin")
    token = await site.token(admin, "scada", "admin")
    assert await site.ask("GET", f"{API}/state", token) == 200
    assert await site.ask("DELETE", f"{API}/tokens/scada", admin) == 200
    await site.refused(token, 401)


async def test_a_removed_user(site: Site) -> None:
    session = await site.sign_in("second")
    token = await site.token(session, "scada", "admin")
    users = users_of(site)
    await keep(site, msgspec.structs.replace(users, users=[one for one in users.users if one.name != "second"]))
    await site.refused(session, 401)
    await site.refused(token, 401)


async def test_a_changed_role(site: Site) -> None:
    session = await site.sign_in("second")
    token = await site.token(session, "scada", "admin")
    users = users_of(site)
    changed = [msgspec.structs.replace(one, role="viewer") if one.name == "second" else one for one in users.users]
    await keep(site, msgspec.structs.replace(users, users=changed))
    for headers in (session, token):
        answers = await all_but_live(site, headers)
        assert {one for one, status in answers.items() if status == 403} == {
            one for one in answers if one[2] == "admin"
        }


async def test_a_users_file_that_is_gone_or_damaged(site: Site) -> None:
    session = await site.sign_in("admin")
    proxied = {**session, "X-Forwarded-For": "10.0.0.5"}
    content = (site.folder / FILE).read_text()
    await keep(site, content[: len(content) // 2])
    await site.refused(session, 409)
    await keep(site, "{}")
    await site.refused(proxied, 403)


async def test_another_origin_port_or_site(site: Site) -> None:
    session = await site.sign_in("admin")
    host, _, port = site.app.page_address.rpartition(":")
    named = {**session, "Host": "gw.local"}
    for headers in (
        {**session, "Origin": "http://evil.example"},
        {**session, "Origin": "null"},
        {**session, "Origin": ""},
        {**session, "Origin": "x"},
        {**session, "Origin": f"http://{host}"},
        {**session, "Origin": f"http://{host}:{int(port) ^ 1}"},
        {**session, "Origin": f"https://{host}:{port}"},
        {**session, "Origin": f"http://localhost:{port}"},
        {**named, "Origin": "http://gw.local:3000"},
        {**named, "Origin": "https://gw.local"},
        {**named, "Origin": "https://gw.local", "X-Forwarded-Proto": "https"},
        {**session, "Origin": "http://gw.local"},
        {**session, "Origin": "http://gw.local", "X-Forwarded-Host": "gw.local"},
        {**session, "Sec-Fetch-Site": "cross-site"},
        {**session, "Sec-Fetch-Site": "same-site"},
    ):
        await site.refused(headers, 403)
    assert await site.ask("GET", f"{API}/state", {**named, "Origin": "http://gw.local"}) == 200
    assert await site.ask("GET", f"{API}/state", {**session, "Origin": f"http://{host}:{port}"}) == 200


async def test_another_host(site: Site) -> None:
    session = await site.sign_in("admin")
    for host in ("evil.example", "gw.local.evil.example", "evil.example:80", "gw.local.", "127.0.0.1.evil.example"):
        await site.refused({**session, "Host": host}, 421)
    for host in ("", "[", "a@127.0.0.1", "127.0.0.1/x", "127.0.0.1:99999", "127.0.0.1:x"):
        await site.refused({**session, "Host": host}, 400)


async def test_a_change_that_a_form_of_another_site_could_send(site: Site) -> None:
    session = await site.sign_in("admin")
    del session["X-Vdevice"]
    before = (site.folder / "vdevice.toml").read_bytes(), (site.folder / FILE).read_bytes()
    body = json.dumps({"value": "x", "name": "admin", "password": PASSWORD}).encode()
    for method, path, _ in [*site.operations, ("POST", f"{API}/logout", ""), ("POST", f"{API}/login", "")]:
        if method == "GET":
            continue
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            for own in ({}, OWN):
                headers = {**session, **own, "Content-Type": kind}
                assert await site.ask(method, path, headers, body) == 415, (method, path, kind)
        assert await site.ask(method, path, session) == 415, (method, path)
    assert before == ((site.folder / "vdevice.toml").read_bytes(), (site.folder / FILE).read_bytes())
    assert site.app.board.targets[7].accepted == 0
    assert await site.ask("GET", f"{API}/session", session) == 200


async def test_a_stream_ends_with_its_session_and_says_nothing_more(site: Site) -> None:
    for end in ("signed out", "new password"):
        session = await site.sign_in("second")
        host, _, port = site.app.page_address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"GET {API}/live HTTP/1.1\r\nHost: {site.app.page_address}\r\nCookie: {session['Cookie']}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode())
        async with asyncio.timeout(10):
            said = await reader.readuntil(b"event: state")
            if end == "signed out":
                assert await site.ask("POST", f"{API}/logout", session) == 204
            else:
                Access(site.folder).set_password("second", "another horse", "admin")
            said += await reader.read()
        writer.close()
        assert said.count(b"HTTP/1.") == 1, said[-500:]
        assert said.endswith(b"0\r\n\r\n")
        assert site.app._page
        assert site.app._page._live._count == 0
