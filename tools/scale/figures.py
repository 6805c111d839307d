"""The figures that docs/scale.md computes with: a cluster of three, at a low rate, where each string is a batch of its own.

`make bench`, 300/s offered, NATS cluster, and `python -m tools.scale.measure --ids 30`, 2026-11-24; a process with both
roles took 1,508 µs a string, split as separate processes split it (205 to 386 µs at 64 connections).
"""

from tools.scale.model import Figures

MEASURED = Figures(
    device_cpu=520e-6,
    dispatcher_cpu=980e-6,
    broker_cpu=4500e-6,
    acknowledged=7.8e-3,
    handover=1.5e-3,
    process_memory=58,
    broker_memory=3.7,
    broker_idle=0.48e-3,
)
