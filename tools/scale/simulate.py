"""A simulation of a fleet, string by string, beside the arithmetic of model.py: 1,000 devices with 64,000 targets.

Each string goes through its device's core, a core of its cluster, its target's lane, its dispatcher's core, its webhook and the
cluster again, and waits wherever others are before it. What the arithmetic says without any queue of events must come out.

    python -m tools.scale.simulate --devices 1000 --rate 0.1 --seconds 60
"""

import argparse
import heapq
import random
import statistics
from collections import deque
from typing import NamedTuple

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tools.scale.figures import MEASURED
from tools.scale.model import Cluster, Figures, Fleet, Plan, plan, shard


class Seen(NamedTuple):
    """What came out: strings a second, and the means and shares that Plan has, too."""

    strings: float
    lane_share: float
    lane_wait: float
    arrival: float
    device_share: float
    dispatcher_share: float
    broker_cores: float


class Cores:
    """Some cores with one queue; `take` says when work that comes at `now` is done. Work must come in order of time."""

    def __init__(self, count: int) -> None:
        self._free = [0.0] * count
        self.busy = 0.0

    def take(self, now: float, work: float) -> float:
        """Do some work on the core that is free first."""
        started = max(now, heapq.heappop(self._free))
        heapq.heappush(self._free, started + work)
        self.busy += work
        return started + work


class Simulation:
    """One run. Steps of strings are events in a heap; `arrivals` are Poisson for each target."""

    def __init__(self, fleet: Fleet, figures: Figures, cluster: Cluster, clusters: int, seed: int = 1) -> None:
        self._fleet = fleet
        self._figures = figures
        self._lots = random.Random(seed)
        self._devices = [Cores(1) for _ in range(fleet.devices)]
        self._dispatchers = [Cores(1) for _ in range(fleet.devices)]
        self._clusters = [Cores(cluster.servers * cluster.cores) for _ in range(clusters)]
        self._lanes: list[deque[tuple[float, float]]] = [deque() for _ in range(fleet.devices * fleet.targets)]
        self._steps: list[tuple[float, int, int, float]] = []
        self.waits: list[float] = []
        self.arrivals: list[float] = []
        self.sending = 0.0
        self.done = 0

    def run(self, seconds: float, progress: Progress | None = None) -> None:
        """Let strings come for so long, and go on until the last one is done."""
        lanes = len(self._lanes)
        for lane in range(lanes):
            heapq.heappush(self._steps, (self._lots.expovariate(self._fleet.rate), 0, lane, 0.0))
        task = progress.add_task("simulated seconds", total=seconds) if progress else None
        kinds = (self._written, self._stored, self._begun, self._sent, self._recorded)
        while self._steps:
            now, kind, lane, written = heapq.heappop(self._steps)
            if kind == 0:
                if now > seconds:
                    continue
                self._push(now + self._lots.expovariate(self._fleet.rate), 0, lane, 0.0)
                if progress and task is not None and self.done % 1000 == 0:
                    progress.update(task, completed=now)
            kinds[kind](now, lane, written)

    def _push(self, when: float, kind: int, lane: int, written: float) -> None:
        heapq.heappush(self._steps, (when, kind, lane, written))

    def _cluster(self, lane: int) -> Cores:
        return self._clusters[shard(lane // self._fleet.targets, len(self._clusters))]

    def _written(self, now: float, lane: int, _written: float) -> None:
        device = self._devices[lane // self._fleet.targets]
        self._push(device.take(now, self._figures.device_cpu), 1, lane, now)

    def _stored(self, now: float, lane: int, written: float) -> None:
        # Half of what a string costs the cluster is to store it, half is to hand it out and to record its result.
        done = self._cluster(lane).take(now, self._figures.broker_cpu / 2)
        safe = max(done, now + self._figures.acknowledged)
        queue = self._lanes[lane]
        queue.append((safe, written))
        if len(queue) == 1:
            self._push(safe, 2, lane, written)

    def _begun(self, now: float, lane: int, written: float) -> None:
        safe, written = self._lanes[lane][0]
        self.waits.append(now - safe)
        dispatcher = self._dispatchers[lane // self._fleet.targets]
        sent = dispatcher.take(now, self._figures.dispatcher_cpu)
        webhook = self._lots.expovariate(1 / self._fleet.webhook)
        self.sending += sent + webhook + self._figures.handover - now
        self._push(sent + webhook, 3, lane, written)

    def _sent(self, now: float, lane: int, written: float) -> None:
        self.arrivals.append(now - written)
        self._push(now + self._figures.handover, 4, lane, written)

    def _recorded(self, now: float, lane: int, _written: float) -> None:
        self._cluster(lane).take(now, self._figures.broker_cpu / 2)
        queue = self._lanes[lane]
        queue.popleft()
        self.done += 1
        if queue:
            safe, written = queue[0]
            self._push(max(now, safe), 2, lane, written)

    def seen(self, seconds: float) -> Seen:
        """Return what came out of a run of so many seconds."""
        fleet, figures = self._fleet, self._figures
        busy = sum(cluster.busy for cluster in self._clusters) / seconds
        idle = fleet.devices * figures.broker_idle * 3
        return Seen(
            strings=self.done / seconds,
            lane_share=self.sending / seconds / len(self._lanes),
            lane_wait=statistics.fmean(self.waits),
            arrival=statistics.fmean(self.arrivals),
            device_share=sum(device.busy for device in self._devices) / seconds / fleet.devices,
            dispatcher_share=sum(one.busy for one in self._dispatchers) / seconds / fleet.devices,
            broker_cores=busy + idle,
        )


def simulate(fleet: Fleet, seconds: float, progress: Progress | None = None) -> tuple[Plan, Seen]:
    """Return what the arithmetic says of a fleet and what the simulation saw."""
    cluster = Cluster()
    expected = plan(fleet, MEASURED, cluster)
    simulation = Simulation(fleet, MEASURED, cluster, expected.clusters)
    simulation.run(seconds, progress)
    return expected, simulation.seen(seconds)


def main() -> None:
    """Print both side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--targets", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.1, help="strings a second of each target")
    parser.add_argument("--webhook", type=float, default=0.1, help="seconds that a webhook takes")
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    fleet = Fleet(given.devices, given.targets, given.rate, given.webhook)
    with Progress(transient=True) as progress:
        expected, seen = simulate(fleet, given.seconds, progress)
    table = Table(
        "",
        "arithmetic",
        "simulation",
        "ratio",
        title=f"{fleet.devices} devices, {fleet.devices * fleet.targets} targets",
    )
    for name, value in seen._asdict().items():
        table.add_row(name, f"{getattr(expected, name):.4g}", f"{value:.4g}", f"{value / getattr(expected, name):.3f}")
    console = Console()
    console.print(table)
    console.print(f"{expected.clusters} clusters; the first limit is {expected.limit}", markup=False)


if __name__ == "__main__":
    main()
