"""Modbus/TCP: bytes to requests, requests to the unit that answers them, answers in order.

Rules of this room: `frames` and `pdu` are pure and know no socket; the unit knows no connection; the server knows no
register. pymodbus listens and brings the exception codes, the identity and our client; docs/decisions says why its
request handler is not used.
"""
