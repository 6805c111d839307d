"""What the API says and hears, as structs: OpenAPI is made from them. Times are UTC seconds."""

from typing import Annotated, Any, Literal

import msgspec

from vdevice.modbus.connection import Connected
from vdevice.web.auth import Role

StateName = Literal["waiting", "delivered", "failed", "discarded"]


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error (RFC 9457), as application/problem+json; `problems` are those of a config, in the words of `vdevice check`."""

    title: str
    status: int
    detail: str = ""
    problems: list[dict[str, str]] = []
    current: str = ""


class TargetRow(msgspec.Struct, frozen=True):
    """A target as the grid shows it. `state` is that of the state register, in words.

    `refused` counts writes that stored nothing, `full` says that the last write found no room in the outbox.
    """

    number: int
    state: str
    enabled: bool
    paused: bool
    description: str
    method: str
    host: str
    queued: int
    accepted: int
    delivered: int
    failed: int
    refused: int
    full: bool
    http_status: int
    error: int
    error_text: str
    latency_ms: int
    attempts: int
    finished_at: int


class DeviceRow(msgspec.Struct, frozen=True):
    """The device's own figures."""

    id: str
    version: str
    uptime: int
    waiting: int
    connections: int
    healthy: bool
    outbox_full: bool
    outbox_failing: bool
    delivering: bool
    config: str


class State(msgspec.Struct, frozen=True):
    """The device and all 64 targets at one moment."""

    device: DeviceRow
    targets: list[TargetRow]


class TargetSettings(msgspec.Struct, frozen=True):
    """A target's settings as in vdevice.toml, `{"kept": true}` for a secret that stays; `tag` is of the whole file."""

    tag: str
    settings: dict[str, Any] | None


class Saved(msgspec.Struct, frozen=True):
    """A file that was saved, by its new tag."""

    tag: str


class Draft(msgspec.Struct, frozen=True):
    """Settings that are not saved, and a sample string for them."""

    settings: dict[str, Any]
    value: str = ""


class Copy(msgspec.Struct, frozen=True):
    """Targets that get all settings of another."""

    to: list[int]
    tag: str = ""


class Doubt(msgspec.Struct, frozen=True):
    """What is right but may not be meant: `path` as in TOML (`targets.7.payload`)."""

    path: str
    message: str


class Rendered(msgspec.Struct, frozen=True):
    """A request as it would go out, secrets masked, and what `vdevice check` warns of."""

    text: str
    warnings: list[Doubt] = []


class Tried(msgspec.Struct, frozen=True):
    """What a test request brought: the answer, or why there was none. `ms` is the time it took."""

    delivered: bool
    http_status: int
    text: str
    answer: str
    headers: dict[str, str]
    ms: int


class Write(msgspec.Struct, frozen=True):
    """A string for a target, as a Modbus write of it would be."""

    value: str


class Written(msgspec.Struct, frozen=True):
    """The strings that were stored."""

    ids: list[str]


class Text(msgspec.Struct, frozen=True):
    """A text file."""

    text: str
    tag: str = ""


class EventRow(msgspec.Struct, frozen=True):
    """A string in its life. `next_at` is when it is tried again."""

    id: str
    target: int
    state: StateName
    value: str
    accepted_at: float
    finished_at: float
    attempts: int
    next_at: float
    http_status: int
    error: int
    error_text: str
    source_connection: str
    source_parameter: str


class Attempt(msgspec.Struct, frozen=True):
    """An attempt since this process started: when, how long it took, and what came of it."""

    at: float
    ms: int
    http_status: int
    text: str
    answer: str


class Event(msgspec.Struct, frozen=True):
    """A string whole: with its registers in hex as the target's format has them, the request of now, and the last answer.

    `reads_better_with` are settings of the target that read what was written clearly better, empty where there are none.
    """

    row: EventRow
    source_value: str
    description: str
    registers: str
    reads_better_with: str
    request: str
    answer: str
    attempts: list[Attempt]


class Choice(msgspec.Struct, frozen=True):
    """Dead letters: these ids, or all that fit."""

    ids: list[str] = []
    target: int | None = None
    text: str = ""
    everything: bool = False
    reason: str = ""


class Count(msgspec.Struct, frozen=True):
    """How many there were."""

    count: int


class Registers(msgspec.Struct, frozen=True):
    """Registers as they are read, from `address` on, with what each is; -1 is one that cannot be read."""

    space: Literal["holding", "input"]
    address: int
    values: list[int]
    names: list[str]


class RegisterWrite(msgspec.Struct, frozen=True):
    """Holding registers to be written with FC16, as a PLC would."""

    address: int
    values: list[int]


class ModbusAnswer(msgspec.Struct, frozen=True):
    """The answer to a Modbus request: 0, or the exception code and what it means."""

    exception: int
    words: str


class Moment(msgspec.Struct, frozen=True, array_like=True):
    """One sample of the last hour: time, strings accepted and delivered since the one before, waiting, latency in ms."""

    at: int
    accepted: int
    delivered: int
    waiting: int
    latency_ms: int


class System(msgspec.Struct, frozen=True):
    """What the device's view shows beside its state."""

    connections: list[Connected]
    history: list[Moment]
    log: list[str]
    outbox_bytes: int
    oldest_waiting: float
    limits: dict[str, str]
    modbus: str
    modbus_tls: str


class PointRow(msgspec.Struct, frozen=True):
    """A point with its live value."""

    name: str
    space: str
    address: int
    type: str
    unit: str
    description: str
    value: str


Place = list[Annotated[int, msgspec.Meta(ge=0, le=10_000)]]
"""Where a rule stands: its index, behind those of the folders that it is in."""


class RuleRow(msgspec.Struct, frozen=True):
    """A rule or folder: its settings as in the file, and the rules in it. `enabled` is its own switch."""

    place: list[int]
    enabled: bool
    settings: dict[str, Any]
    rules: list["RuleRow"]


class Converter(msgspec.Struct, frozen=True):
    """Points and rules, and what `vdevice check` warns of in the rules; `tag` is of the whole file."""

    tag: str
    points: list[PointRow]
    rules: list[RuleRow]
    warnings: list[Doubt] = []


class RuleEdit(msgspec.Struct, frozen=True):
    """A rule's settings, at the place behind the last one for a new rule; none removes it."""

    tag: str
    place: Annotated[Place, msgspec.Meta(min_length=1, max_length=16)]
    settings: dict[str, Any] | None


class RuleMove(msgspec.Struct, frozen=True):
    """A rule that goes so many places down among its neighbours, or up."""

    tag: str
    place: Annotated[Place, msgspec.Meta(min_length=1, max_length=16)]
    by: Annotated[int, msgspec.Meta(ge=-10_000, le=10_000)]


class RuleSwitch(msgspec.Struct, frozen=True):
    """A rule, or a folder with all below it, that is switched on or off."""

    tag: str
    place: Annotated[Place, msgspec.Meta(min_length=1, max_length=16)]
    enabled: bool


class Login(msgspec.Struct, frozen=True):
    """Who signs in."""

    name: str
    password: str


class Session(msgspec.Struct, frozen=True):
    """Who is signed in; `open` where no password is set."""

    name: str
    role: Role
    open: bool


class NewToken(msgspec.Struct, frozen=True):
    """A token that is to be made."""

    name: str
    role: Role = "viewer"


class TokenMade(msgspec.Struct, frozen=True):
    """A token, shown once."""

    token: str


class TokenRow(msgspec.Struct, frozen=True):
    """A token that was made."""

    name: str
    role: Role
    created_at: float
