"""Keeps events on disk until their outcome is recorded.

Rules of this room: one process writes, the `writer`; many requests share one commit; nothing is answered before its
commit. The counters change in the transaction of the events that they count, and reach the board in commit
order.
"""
