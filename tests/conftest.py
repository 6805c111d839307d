from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support import Recorder


@pytest_asyncio.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with Recorder().serve() as running:
        yield running
