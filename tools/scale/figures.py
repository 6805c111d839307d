"""The measured figures that docs/scale.md computes with; each says where it comes from."""

from tools.scale.model import Figures

MEASURED = Figures(
    device_cpu=150e-6,
    dispatcher_cpu=350e-6,
    broker_cpu=500e-6,
    acknowledged=3e-3,
    handover=1.5e-3,
    process_memory=60,
    broker_memory=2,
    broker_idle=1e-3,
)
