"""The bench: load, receiver, and what vdevice is held against."""
