import secrets
import signal
from collections.abc import AsyncIterator, Generator, Iterator

import hypothesis
import pytest
import pytest_asyncio

from tests import seeds, support
from tests.brokers import NatsServer, nats_server
from tests.support import Recorder
from vdevice.app import App

REPEAT = f"VDEVICE_SEED={seeds.SEED} draws the same again"

# Hypothesis would draw the same each time where the environment says CI.
# How long an example takes says something of the machine's load only.
hypothesis.settings.register_profile(
    "held out",
    derandomize=False,
    print_blob=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("held out")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(seeds.SEED)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections.append(("seed", REPEAT))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(REPEAT)


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
