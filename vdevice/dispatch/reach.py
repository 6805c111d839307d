"""Whether a target can be reached: its name is resolved, its TLS is shaken, and nothing is sent."""

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit

from vdevice.config import Target
from vdevice.config.schema import Network
from vdevice.dispatch.connections import connected, resolve
from vdevice.dispatch.failure import failure
from vdevice.dispatch.sender import tls_context
from vdevice.errors import StalledError
from vdevice.threads import in_thread


async def reach(target: Target, deny: Sequence[Network], seconds: float) -> str:
    """Return why a target's host, or its proxy, cannot be reached within some seconds; empty if it can."""
    url = urlsplit(target.proxy.reveal() if target.proxy else target.url.reveal())
    secure = url.scheme == "https"
    host, port = url.hostname or "", url.port or (443 if secure else 80)
    try:
        async with asyncio.timeout(seconds):
            denied = () if target.proxy else deny
            tls = (
                await in_thread(f"a TLS file of {target.name}", seconds, lambda: tls_context(target))
                if secure
                else None
            )
            handle = await connected(await resolve(host, port, denied), denied)
            _, writer = await asyncio.open_connection(sock=handle, ssl=tls, server_hostname=host if tls else None)
    except StalledError as error:
        return str(error)
    except TimeoutError:
        return f"no answer within {seconds:g} s"
    except (OSError, ssl.SSLError) as error:
        return failure(error).text
    writer.close()
    with contextlib.suppress(OSError, ssl.SSLError):
        await writer.wait_closed()
    return ""
