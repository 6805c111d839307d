"""The outbox on NATS JetStream: any number of devices and dispatchers of one device id share it.

Rules of this room: a string and the count of accepted ones are stored in one atomic batch; a result is in the key-value
bucket before its message is acknowledged; whoever looks in with the tools of NATS can read all of it (docs/nats.md).
"""
