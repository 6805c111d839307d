"""Which address is what, and registers to strings and back.

Rules of this room: no IO, no clock; `staging` alone keeps something from one write to the next. A register is 16 bits, high
byte first on the wire, and travels here as two bytes.
"""
