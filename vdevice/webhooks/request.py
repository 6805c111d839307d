"""The HTTP request as it will go out: what `vdevice render` shows and the sender sends."""

from urllib.parse import urlsplit

import msgspec


class Request(msgspec.Struct, frozen=True):
    """A whole HTTP request. `url` is sent as it stands; `headers` are in order and complete."""

    method: str
    url: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def head(self) -> str:
        """Return request line and headers as they are on the wire, lines ended by CR LF."""
        parts = urlsplit(self.url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = "".join([f"{name}: {value}\r\n" for name, value in self.headers])
        return f"{self.method} {path} HTTP/1.1\r\n{lines}\r\n"
