"""When the next attempt is due: exponential backoff with full jitter.

https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ ("full jitter"). Pure; chance is passed in.
"""

import random
from collections.abc import Callable

from vdevice.config import Target


def delay(
    target: Target, failures: int, retry_after: float | None = None, draw: Callable[[], float] = random.random
) -> float:
    """Return the seconds until the attempt after `failures` (>= 1) failed ones; Retry-After counts up to backoff_max."""
    if retry_after is not None:
        return min(retry_after, target.backoff_max)
    # 2 ** 60 is above every backoff_max, and still a float.
    return draw() * min(target.backoff * 2.0 ** min(failures - 1, 60), target.backoff_max)
