"""Which address is what, and registers to strings and back.

Rules of this room: pure functions, no state, no IO; a register is 16 bits, high byte first on the wire, and travels
here as two bytes.
"""
