"""The figures of the board for Prometheus, in a registry of their own."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vdevice import descriptors
from vdevice.web.call import Device

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

COUNTERS = {
    "accepted": "Strings accepted",
    "delivered": "Strings delivered",
    "failed": "Dead letters",
    "discarded": "Strings discarded",
    "refused": "Writes that stored nothing (exception 03, 04 or 06), and staged texts thrown away",
}


class _Board(Collector):
    def __init__(self, device: Device) -> None:
        self._device = device

    def collect(self) -> Iterator[Metric]:
        """Yield all figures as they are now."""
        board = self._device.board
        shown = {number: state for number, state in board.targets.items() if state.configured or state.accepted}
        for name, words in COUNTERS.items():
            counter = CounterMetricFamily(f"vdevice_{name}", words, labels=["target"])
            for number, state in shown.items():
                counter.add_metric([str(number)], getattr(state, name))
            yield counter
        queued = GaugeMetricFamily("vdevice_queued", "Strings waiting or being sent", labels=["target"])
        full = GaugeMetricFamily("vdevice_full", "The last write found no room in the outbox", labels=["target"])
        latency = GaugeMetricFamily("vdevice_latency_seconds", "Accept to delivery, of the last one", labels=["target"])
        for number, state in shown.items():
            queued.add_metric([str(number)], state.queued)
            full.add_metric([str(number)], int(state.full))
            latency.add_metric([str(number)], state.latency_ms / 1000)
        yield queued
        yield full
        yield latency
        yield GaugeMetricFamily("vdevice_connections", "Modbus connections", value=board.connections.total())
        yield GaugeMetricFamily(
            "vdevice_unanswered_seconds",
            "Age of the oldest Modbus request without a response",
            value=board.unanswered_seconds,
        )
        yield GaugeMetricFamily("vdevice_healthy", "Strings are accepted and delivered", value=int(board.healthy))
        yield GaugeMetricFamily("vdevice_outbox_full", "No place is free for any target", value=int(board.outbox_full))
        yield GaugeMetricFamily("vdevice_outbox_failing", "The outbox fails", value=int(board.outbox_failing))
        used = descriptors.in_use()
        if used is not None:
            yield GaugeMetricFamily("process_open_fds", "Open files of the device", value=used)
        yield GaugeMetricFamily("process_max_fds", "Open files that the system permits it", value=descriptors.limit())
        yield CounterMetricFamily("vdevice_uptime_seconds", "Since the start", value=board.uptime)


def text(device: Device) -> bytes:
    """Return all figures in the text format of Prometheus."""
    registry = CollectorRegistry()
    registry.register(_Board(device))
    return generate_latest(registry)
