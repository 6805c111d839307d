"""The typed structs of `vdevice.toml`, section by section. Times are seconds unless a name says otherwise."""

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from vdevice.config.secret import Secret

Method = Literal[
    "get", "post-urlencoded", "post-multipart", "post-raw", "put", "delete", "slack", "teams", "mattermost"
]
CHAT = frozenset({"slack", "teams", "mattermost"})
"""Methods whose URL is a secret: who has it may write into the channel."""

Order = Literal["big", "little"]
# With an end, so that nothing reckons with infinity: about 30 years.
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]
IDLE_MS = 500
STAGING_TIMEOUT = 60
NATS_SCHEMES = ("nats://", "tls://")
Success = int | Annotated[str, Meta(pattern="^[1-5]xx$")]


class Listen:
    """Where a server listens, from `host:port` or `[v6 address]:port`; port 0 takes a free one."""

    __slots__ = ("host", "port")

    def __init__(self, text: str) -> None:
        host, colon, port = text.rpartition(":")
        is_number = port.isascii() and port.isdigit() and len(port) <= len("65535")
        if not colon or not host or not is_number or int(port) > 65535:
            raise ValueError(f"{text[:100]!r} is not host:port; write it like 127.0.0.1:5020")
        self.host = host.removeprefix("[").removesuffix("]")
        self.port = int(port)

    @property
    def reachable_host(self) -> str:
        """The host by which this machine reaches the server; a wildcard is no address to connect to."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Listen) and str(other) == str(self)

    def __hash__(self) -> int:
        return hash(str(self))

    def __repr__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Network:
    """An address or a network, v4 or v6."""

    __slots__ = ("network",)

    def __init__(self, text: str) -> None:
        try:
            self.network = ipaddress.ip_network(text)
        except ValueError as error:
            raise ValueError(f"{error}; write an address like 10.0.0.5 or a network like 10.0.0.0/24") from None

    def __contains__(self, address: str) -> bool:
        try:
            return ipaddress.ip_address(address) in self.network
        except ValueError:
            return False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and other.network == self.network

    def __hash__(self) -> int:
        return hash(self.network)

    def __repr__(self) -> str:
        return str(self.network)


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """[device]: who this device is. `url` is the address that its Modbus identity gives, empty for none."""

    id: Annotated[str, Meta(min_length=1, max_length=32, pattern="^[ -~]+$")] = "vdevice"
    url: Annotated[str, Meta(max_length=100, pattern="^[!-~]*$")] = ""
    timezone: ZoneInfo = msgspec.field(default_factory=lambda: ZoneInfo("UTC"))


class Permits(msgspec.Struct, frozen=True, kw_only=True):
    """What may be written: [modbus.tls.roles.<name>]. `targets` and `points` are those, None is all of them."""

    read_only: bool = False
    targets: list[Annotated[int, Meta(ge=1, le=64)]] | None = None
    points: list[str] | None = None


class Client(Permits, frozen=True, kw_only=True):
    """[modbus.clients.<name>]: the name of an address or network, for $SOURCECONNECTION and the log, and what it may do.

    `rate` is requests a second.
    """

    address: Network
    rate: Positive | None = None


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """[modbus.tls]: the Modbus/TCP Security listener. PEM files; `client_ca` signs the certificates of clients.

    Without `roles` each of these clients may do all; with them a certificate's role says what it may write.
    """

    listen: Listen = msgspec.field(default_factory=lambda: Listen("127.0.0.1:802"))
    cert: Path
    key: Path
    client_ca: Path
    roles: dict[str, Permits] = {}


class Modbus(msgspec.Struct, frozen=True, kw_only=True):
    """[modbus]: the Modbus/TCP server and its limits. An empty `allow` lets every address in; 0 is no limit."""

    listen: Listen = msgspec.field(default_factory=lambda: Listen("127.0.0.1:5020"))
    unit_id: Annotated[int, Meta(ge=1, le=247)] = 1
    allow: list[Network] = []
    max_connections: Annotated[int, Meta(ge=0)] = 1000
    max_connections_per_address: Annotated[int, Meta(ge=0)] = 250
    idle_timeout: Seconds = 0
    frame_timeout: Seconds = 10
    answer_timeout: Annotated[float, Meta(ge=0.1, le=300)] = 5.0
    rate: Positive | None = None
    clients: dict[str, Client] = {}
    tls: Tls | None = None


class Web(msgspec.Struct, frozen=True, kw_only=True):
    """[web]: the page. `hosts` are the names that it is reached by, beside addresses, localhost and this machine's name.

    `trusted_proxies` are the reverse proxies whose X-Forwarded-For, -Host and -Proto are believed. Secrets that are set on the
    page come from files below `secret_files` and variables that begin with `secret_env` only; empty allows none.
    """

    enabled: bool = True
    listen: Listen = msgspec.field(default_factory=lambda: Listen("127.0.0.1:8080"))
    hosts: list[str] = []
    trusted_proxies: list[Network] = []
    secret_files: str = "secrets"  # noqa: S105 (a folder)
    secret_env: str = "VDEVICE_"  # noqa: S105 (the beginning of a name)


class Outbox(msgspec.Struct, frozen=True, kw_only=True):
    """[outbox]: where strings wait. `keep_failed` is in days, `keep_delivered` in hours.

    The settings from `replicas` on are for nats://, whose URL may name several servers of one cluster.
    """

    url: str = "sqlite:///vdevice.db"
    max_messages: Count = 100_000
    keep_failed: Seconds = 30
    keep_delivered: Seconds = 24
    replicas: Annotated[int, Meta(ge=1, le=5)] = 1
    credentials: Path | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @property
    def is_nats(self) -> bool:
        """Whether strings wait in NATS JetStream."""
        return self.url.startswith(NATS_SCHEMES)

    @property
    def servers(self) -> list[str]:
        """The servers of a nats:// URL, each with its own scheme."""
        scheme, _, rest = self.url.partition("://")
        return [f"{scheme}://{server.strip().removeprefix(f'{scheme}://').rstrip('/')}" for server in rest.split(",")]


class Attempts(msgspec.Struct, frozen=True, kw_only=True):
    """How strings are delivered: in [delivery], and overridden in a target. `rate` is messages a second."""

    timeout: Positive = 10
    attempts: Count = 10
    backoff: Positive = 1
    backoff_max: Positive = 300
    max_age: Positive = 86_400
    parallel: Annotated[int, Meta(ge=1, le=100)] = 1
    rate: Positive | None = None
    success: list[Success] | None = None
    follow_redirects: bool = False


DENIED = ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")
"""Link-local networks, and the addresses at which clouds tell a machine its secrets (AWS, Alibaba, Azure, Oracle)."""


class Delivery(Attempts, frozen=True, kw_only=True):
    """[delivery]: what targets have in common, and where requests may go. An empty `allow_hosts` lets them go to each host."""

    allow_hosts: list[str] = []
    deny_networks: list[Network] = msgspec.field(default_factory=lambda: [Network(text) for text in DENIED])


class Files(msgspec.Struct, frozen=True, kw_only=True):
    """[files]: the folder that `file:` values may read from, and the largest file in bytes."""

    root: Path = msgspec.field(default_factory=lambda: Path("files"))
    max_bytes: Count = 10 * 1024 * 1024


class Target(Attempts, frozen=True, kw_only=True):
    """[targets.<number>]: one webhook, complete: secrets read, [delivery] filled in."""

    number: int
    method: Method
    url: Secret
    description: str = ""
    enabled: bool = True
    debug: bool = False
    auth_user: str | None = None
    auth_password: Secret | None = None
    bearer_token: Secret | None = None
    signing_secret: Secret | None = None
    headers: dict[str, Secret] = {}
    parameters: list[tuple[str, str]] = []
    content_type: str | None = None
    payload: str | None = None
    destination: str | None = None
    raw_variables: bool = False
    completion: Literal["request", "content", "commit", "idle"] = "request"
    byte_order: Order = "big"
    idle_ms: Annotated[int, Meta(ge=10, le=60_000)] = IDLE_MS
    staging_timeout: Annotated[float, Meta(gt=0, le=1e9)] = STAGING_TIMEOUT
    word_order: Order = "big"
    format: Literal["nul", "fixed", "length16", "length32", "s7-string", "s7-wstring"] = "nul"
    encoding: Literal["utf-8", "ascii", "latin-1", "cp1252", "utf-16-be", "utf-16-le"] = "utf-8"
    registers: Annotated[int, Meta(ge=1, le=900)] | None = None
    trim: bool = False
    ignore_empty: bool = False
    trigger: Literal["write", "change"] = "write"
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    proxy: Secret | None = None

    @property
    def name(self) -> str:
        """The parameter's name, as variables and logs show it."""
        return f"target/{self.number}"


REGISTERS_OF = {"int16": 1, "uint16": 1, "int32": 2, "uint32": 2, "float32": 2, "int64": 4, "float64": 4}
"""Registers that a number takes."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """[[points]]: a typed place in the device block. `length` is the registers of a string, `bit` 0 the lowest one."""

    name: Annotated[str, Meta(pattern=r"^[^/\x00-\x1f]{1,64}$")]
    space: Literal["holding", "coil"]
    address: Annotated[int, Meta(ge=0, le=899)]
    type: Literal["bool", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64", "string"]
    word_order: Order = "big"
    byte_order: Order = "big"
    length: Annotated[int, Meta(ge=1, le=900)] | None = None
    bit: Annotated[int, Meta(ge=0, le=15)] | None = None
    scale: float = 1.0
    offset: float = 0.0
    unit: str = ""
    description: str = ""

    @property
    def count(self) -> int:
        """Registers or coils that the point takes."""
        return self.length or 1 if self.type == "string" else REGISTERS_OF.get(self.type, 1)

    @property
    def is_scaled(self) -> bool:
        """Whether the registers hold another number than the value."""
        return self.scale != 1 or self.offset != 0

    @property
    def end(self) -> int:
        """The address behind the point."""
        return self.address + self.count


class When(msgspec.Struct, frozen=True, kw_only=True):
    """`when` of a rule: all that is set must hold; a limit with `hysteresis` holds until the value has come back that far."""

    above: float | None = None
    below: float | None = None
    equals: bool | float | str | None = None
    not_equals: bool | float | str | None = None
    hysteresis: Annotated[float, Meta(ge=0)] = 0


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """[[rules]]: what a point's writes cause; or a folder of `rules`. `delay` and `min_interval` are seconds."""

    description: str = ""
    folder: str | None = None
    enabled: bool = True
    source: str | None = None
    trigger: Literal["write", "change", "rising", "falling"] = "write"
    when: When | None = None
    map: dict[str, str] = {}
    template: str | None = None
    destinations: list[str] = []
    delay: Seconds = 0
    min_interval: Seconds = 0
    rules: tuple["Rule", ...] = ()


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """All of `vdevice.toml`. `folder` is the config's own, which relative paths start from."""

    folder: Path
    device: Device
    modbus: Modbus
    outbox: Outbox
    delivery: Delivery
    files: Files
    targets: dict[int, Target]
    web: Web = Web()
    points: tuple[Point, ...] = ()
    rules: tuple[Rule, ...] = ()

    @property
    def outbox_file(self) -> Path:
        """The SQLite file of the outbox, without symbolic links: its locks and its log lie beside the file itself."""
        return Path(os.path.realpath(self.folder / self.outbox.url.removeprefix("sqlite:///")))

    @property
    def files_root(self) -> Path:
        """The folder that `file:` values may read from."""
        return self.folder / self.files.root

    def client_name(self, address: str) -> str:
        """Return the name of the most specific [modbus.clients] entry that holds `address`, else the address."""
        fitting = [
            (c.address.network.prefixlen, name) for name, c in self.modbus.clients.items() if address in c.address
        ]
        return max(fitting)[1] if fitting else address

    def client_of(self, address: str) -> Client | None:
        """Return that entry, or None where none holds `address`."""
        return self.modbus.clients.get(self.client_name(address))
