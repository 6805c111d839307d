import secrets
import signal
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests import support
from tests.brokers import NatsServer, nats_server
from tests.support import Recorder
from vdevice.app import App


@pytest_asyncio.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with Recorder().serve() as running:
        yield running


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with nats_server(tmp_path_factory.mktemp("nats")) as running:
        yield running


class OnSqlite:
    """Devices of this test keep their strings in SQLite; it can be broken and mended."""

    def hurt(self, app: App) -> None:
        support.fill_disk(app.outbox)

    def mend(self, app: App) -> None:
        support.empty_disk(app.outbox)


class OnNats:
    """Devices of this test keep their strings in NATS, under an id of their own."""

    def __init__(self, server: NatsServer) -> None:
        self._server = server

    def hurt(self, _app: App) -> None:
        self._server.stop(signal.SIGKILL)

    def mend(self, _app: App) -> None:
        self._server.start()


@pytest.fixture(params=["sqlite", "nats"])
def outbox(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> OnSqlite | OnNats:
    """Run the test once on each outbox: the device does the same whichever keeps its strings."""
    if request.param == "sqlite":
        return OnSqlite()
    server: NatsServer = request.getfixturevalue("nats")
    lines = {"device": f'id = "test {secrets.token_hex(4)}"', "outbox": f'url = "{server.url}"'}
    monkeypatch.setattr(support, "GIVEN", lines)
    return OnNats(server)
