"""What whoever asked the writer hears: a result or an error, once, whatever is wrong in what is called back."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from vdevice.errors import OutboxFailingError, OutboxLateError
from vdevice.outbox.asked import Asked, answer, lose, refuse
from vdevice.outbox.messages import Probe, Put


class Unforeseen(Exception):  # noqa: N818 (it is not one of ours)
    """What nobody expects."""


def asked(done: Callable[[Any], None] | None = None, convert: Callable[[Any], Any] = lambda raw: raw) -> Asked:
    return Asked(b"", Put, 0.0, 1.0, asyncio.get_running_loop().create_future(), convert, done)


def broken(_raw: object) -> None:
    raise Unforeseen


ENDS: list[Callable[[Asked], None]] = [
    lambda request: answer(request, 1),
    lambda request: refuse(request, "why"),
    lambda request: lose(request, "why", may_be_done=True),
    lambda request: lose(request, "why", may_be_done=False),
]


async def test_the_callback_has_the_converted_result_before_the_future_has() -> None:
    order: list[object] = []
    request = asked(lambda result: order.append((result, request.future.done())), lambda raw: raw + 1)
    answer(request, 1)
    assert order == [(2, False)]
    assert await request.future == 2


@pytest.mark.parametrize("end", ENDS[1:])
async def test_without_a_result_the_callback_hears_none_once(end: Callable[[Asked], None]) -> None:
    heard: list[object] = []
    request = asked(heard.append)
    end(request)
    assert heard == [None]
    with pytest.raises(OutboxFailingError, match="why"):
        await request.future


async def test_a_result_that_cannot_be_read_is_an_error_of_this_request_only() -> None:
    heard: list[object] = []
    request = asked(heard.append, broken)
    with capture_logs() as lines:
        answer(request, 1)
    assert heard == [None]
    assert lines[0]["request"] == "Put"
    with pytest.raises(OutboxFailingError, match="cannot be read") as raised:
        await request.future
    assert not isinstance(raised.value, OutboxLateError)


@pytest.mark.parametrize("end", ENDS)
async def test_a_broken_callback_is_logged_and_keeps_nobody_waiting(end: Callable[[Asked], None]) -> None:
    request = asked(broken)
    with capture_logs() as lines:
        end(request)
    assert [line["event"] for line in lines] == ["internal error"]
    assert request.future.done()
    request.future.exception()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("how", ["cancelled", "done"])
async def test_who_does_not_wait_any_more_is_still_counted(end: Callable[[Asked], None], how: str) -> None:
    heard: list[object] = []
    request = asked(heard.append)
    if how == "cancelled":
        request.future.cancel()
    else:
        request.future.set_result(0)
    end(request)
    assert len(heard) == 1


async def test_only_what_may_be_done_is_said_to_be_late() -> None:
    late, failed = asked(), asked()
    lose(late, "its writer ended", may_be_done=True)
    lose(failed, "its writer ended", may_be_done=False)
    assert isinstance(late.future.exception(), OutboxLateError)
    error = failed.future.exception()
    assert isinstance(error, OutboxFailingError)
    assert not isinstance(error, OutboxLateError)
    assert "its writer ended" in str(error)


async def test_a_put_is_one_and_a_probe_is_none() -> None:
    assert asked().is_put
    assert not asked()._replace(kind=Probe).is_put
