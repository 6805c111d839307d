"""From the outbox to the wire: one lane a target, each with its own order, pace, retries and breaker.

Rules of this room: a lane never waits for another lane; an event leaves a lane only after the outbox has recorded what
became of it; only `sender` speaks HTTP.
"""
