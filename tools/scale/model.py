"""The arithmetic of docs/scale.md: what a fleet of devices needs, from what one string and one device id cost. Pure.

Times are seconds, memory is MiB. The figures are those that `make bench` and `python -m tools.scale.measure` gave on the
machine of docs/performance.md; measure your own, and pass them in.
"""

import math
from typing import NamedTuple


class Figures(NamedTuple):
    """What was measured.

    CPU seconds of a string in the device, in the dispatcher and in all servers of the cluster together; seconds from write
    to acknowledgement, and from one delivery's end to the next one's start, of a target at low load; and what an idle device
    id costs: MiB of a device and a dispatcher process, MiB and CPU seconds a second in each server.
    """

    device_cpu: float
    dispatcher_cpu: float
    broker_cpu: float
    acknowledged: float
    handover: float
    process_memory: float
    broker_memory: float
    broker_idle: float


class Fleet(NamedTuple):
    """What is wanted: device ids, targets of each, strings a second of each target, seconds that a webhook takes."""

    devices: int
    targets: int
    rate: float
    webhook: float


class Cluster(NamedTuple):
    """One JetStream cluster: servers, cores and MiB of each, and how full they may be."""

    servers: int = 3
    cores: int = 4
    memory: float = 16 * 1024
    full: float = 0.6


class Plan(NamedTuple):
    """What the fleet comes to; a share of 1 is all that there is of it."""

    strings: float
    lane_share: float
    lane_wait: float
    arrival: float
    device_share: float
    dispatcher_share: float
    broker_cores: float
    broker_memory: float
    clusters: int
    limit: str


def plan(fleet: Fleet, figures: Figures, cluster: Cluster) -> Plan:
    """Return what a fleet needs, and which limit it meets first.

    A target sends one string at a time, so that it is a queue with one server: M/G/1, with the Pollaczek-Khinchine mean
    (webhook times exponential, the rest constant). Device and dispatcher are one core each of their id.
    """
    each = fleet.targets * fleet.rate
    strings = fleet.devices * each
    service = fleet.webhook + figures.handover + figures.dispatcher_cpu
    lane_share = fleet.rate * service
    squares = fleet.webhook**2 + service**2
    wait = fleet.rate * squares / (2 * (1 - lane_share)) if lane_share < 1 else math.inf
    cores = strings * figures.broker_cpu + fleet.devices * figures.broker_idle * cluster.servers
    memory = fleet.devices * figures.broker_memory
    by_cpu = cores / (cluster.servers * cluster.cores * cluster.full)
    by_memory = memory / (cluster.memory * cluster.full)
    shares = {
        "a target (one string at a time; set parallel, or use more targets)": lane_share,
        "a device's core": each * figures.device_cpu,
        "a dispatcher's core": each * figures.dispatcher_cpu / cluster.full,
        "the cluster's CPU (more clusters)": by_cpu,
        "the cluster's memory (more clusters)": by_memory,
    }
    return Plan(
        strings=strings,
        lane_share=lane_share,
        lane_wait=wait,
        arrival=figures.device_cpu + figures.acknowledged + wait + figures.dispatcher_cpu + fleet.webhook,
        device_share=each * figures.device_cpu,
        dispatcher_share=each * figures.dispatcher_cpu,
        broker_cores=cores,
        broker_memory=memory,
        clusters=math.ceil(max(by_cpu, by_memory)),
        limit=max(shares, key=lambda name: shares[name]),
    )


def shard(device: int, clusters: int) -> int:
    """Return the cluster of a device, by its number: ids are independent of each other, so that any fixed rule does."""
    return device % clusters
