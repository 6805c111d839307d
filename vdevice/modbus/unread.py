"""Tells how long the other side has taken nothing of what waits to be sent. Pure: time is passed in."""


class Unread:
    """Looks at the bytes that wait to be sent; call `seconds` now and then. Times are those of a clock that never goes back."""

    def __init__(self) -> None:
        self._bytes = 0
        self._since = 0.0

    def __bool__(self) -> bool:
        """Tell whether bytes waited when this was last looked at."""
        return self._bytes > 0

    def seconds(self, waiting: int, now: float) -> float:
        """Return for how long no byte was taken, when so many wait `now`; 0 where none waits."""
        if not waiting or not self._bytes or waiting < self._bytes:
            self._since = now
        self._bytes = waiting
        return now - self._since
