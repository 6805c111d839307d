"""vdevice: a virtual Modbus/TCP device that turns written strings into webhooks.

The rooms and their order are in docs/architecture.md; the layer contract in pyproject.toml holds it.
"""

__version__ = "0.1.0"
