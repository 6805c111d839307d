"""Compares, again and again, what was accepted with what ended and what waits: three figures that stand in two streams.

Either may be deleted, purged, cut or restored from an older copy while the other is not. What was accepted and is nowhere any
more is counted as failed and logged, never as delivered; what is there again, though it had ended, is counted as accepted
again. So a target's counters always lead to nothing pending once nothing waits.
"""

import time
from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import structlog

from vdevice.model import TARGETS
from vdevice.outbox.jetstream import documents
from vdevice.outbox.jetstream.broker import Broker
from vdevice.outbox.jetstream.counts import Counts
from vdevice.outbox.jetstream.documents import Accepted, Progress, seq_of
from vdevice.outbox.jetstream.names import Names
from vdevice.outbox.jetstream.protocol import WRONG_LAST, BrokerError
from vdevice.outbox.jetstream.results import Results

LOOKS = 3
"""Looks in a row in which a target does not balance, until it is measured: under load each look sees a moment of its own."""

MEASURED_AT_ONCE = 8
"""Targets that are measured in one look."""

log = structlog.get_logger()


class _Measure(NamedTuple):
    """A target in one moment: its count and results with their sequences, how many wait, and which named ones are gone."""

    counted: tuple[int, Accepted]
    result: tuple[int, Progress]
    waiting: int
    gone: frozenset[str]

    @property
    def missing(self) -> int:
        """How many messages are nowhere; below 0 how many are there again."""
        accepted = max(self.counted[1].accepted, self.result[1].accepted)
        return accepted - self.result[1].ended - self.waiting


class Balance:
    """Looks at all targets; `look` is to be called once a second with how many messages each subject has."""

    def __init__(self, broker: Broker, names: Names, counts: Counts, results: Results) -> None:
        self._broker = broker
        self._names = names
        self._counts = counts
        self._results = results
        self._looks = dict.fromkeys(TARGETS, 0)
        self._measured: dict[int, int] = {}

    async def look(self, held: Mapping[str, int]) -> None:
        """Mend the counters of targets that do not balance. Raises BrokerError."""
        for number in TARGETS:
            accepted = max(self._counts.of(number).accepted, self._results.of(number).accepted)
            missing = accepted - self._results.of(number).ended - self._waiting(number, held)
            self._looks[number] = self._looks[number] + 1 if missing else 0
        suspects = [number for number in TARGETS if self._looks[number] >= LOOKS]
        for number in suspects[:MEASURED_AT_ONCE]:
            self._looks[number] = LOOKS - 1
            measure = await self._measure(number)
            before = self._measured.pop(number, 0)
            if measure and measure.missing:
                # What is moved to another subject in this moment is seen twice; so a second look must say the same.
                if measure.missing == before:
                    await self._mend(number, measure)
                else:
                    self._measured[number] = measure.missing

    def _waiting(self, number: int, held: Mapping[str, int]) -> int:
        return held.get(self._names.target(number), 0) + held.get(self._names.delayed(number), 0)

    async def _measure(self, number: int) -> _Measure | None:
        """Return a target as it was in one moment; None where it changed meanwhile."""
        first = await self._moment(number)
        named = {*self._results.of(number).ended_last, *self._results.of(number).retries}
        there = set()
        for name in named:
            kept = await self._broker.at(self._names.waiting_stream, seq_of(name)) if seq_of(name) else None
            if kept and documents.name_in(kept.seq, kept.data) == name:
                there.add(name)
        second = await self._moment(number)
        if first != second:
            return None
        counted, result, waiting = second
        # What has ended may still be there, because its acknowledgement was lost.
        ended = there.intersection(result[1].ended_last)
        return _Measure(counted, result, waiting - len(ended), frozenset(named - there))

    async def _moment(self, number: int) -> tuple[tuple[int, Accepted], tuple[int, Progress], int]:
        await self._counts.settle([number])
        await self._results.settle(number)
        held = await self._broker.subjects(self._names.waiting_stream, f"{self._names.root}.*.{number}")
        return self._counts.entry(number), self._results.entry(number), self._waiting(number, held)

    async def _mend(self, number: int, measure: _Measure) -> None:
        missing, result = measure.missing, measure.result[1]
        text = f"{missing} messages are gone from NATS"
        if missing > 0:
            changed = await self._results.change(
                number,
                lambda known: known.lost(missing, time.time(), text, measure.gone) if known == result else None,
            )
            if not changed:
                return
            log.error("messages are gone", target=number, messages=missing, reason="NATS does not have them any more")
        else:
            log.warning("messages are there again", target=number, messages=-missing, reason="NATS went back")
        accepted = self._results.of(number).ended + measure.waiting
        # Which message was the last is not sure now: the next one is stored even if it repeats it.
        count = msgspec.structs.replace(measure.counted[1], accepted=accepted, digest="")
        try:
            last = await self._broker.batch([self._counts.message(number, count, measure.counted[0])])
        except BrokerError as error:
            if error.code != WRONG_LAST:
                raise
        else:
            self._counts.know(last, number, count)
