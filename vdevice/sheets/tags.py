"""All that can be read or written, one tag each: what every format of the map is made of."""

from collections.abc import Iterator

import msgspec

from vdevice.config import Config, Target
from vdevice.config.schema import Order, Point
from vdevice.model import POINTS, TARGETS
from vdevice.registers.layout import (
    COMMIT,
    DEVICE_STATUS,
    DISCRETE_BLOCKS,
    LONGEST_WRITE,
    MIRROR,
    TARGET_STATUS,
    TEXT,
    Row,
)

HOLDING, INPUT, DISCRETE, COIL = "holding register", "input register", "discrete input", "coil"
REFERENCES = {HOLDING: 400_001, INPUT: 300_001, DISCRETE: 100_001, COIL: 1}
"""What is added to an address for the six-digit reference that many tools show."""

DISCRETE_NAMES = ("busy", "last_failed", "enabled", "full")


class Tag(msgspec.Struct, frozen=True, kw_only=True):
    """One value: `count` registers, coils or inputs at `address` (0-based); `kind` is a point's type, or a word for people."""

    name: str
    space: str
    address: int
    count: int
    kind: str
    access: str
    meaning: str
    unit: str = ""
    bit: int | None = None
    scale: float = 1.0
    offset: float = 0.0
    word_order: Order = "big"
    byte_order: Order = "big"

    @property
    def short_name(self) -> str:
        """The name without its block: `state` of `target/7.state`, and a point's whole name."""
        return self.name.partition(".")[2] if self.name.startswith(("device.", "target/")) else self.name

    @property
    def is_text(self) -> bool:
        """Whether the registers hold characters."""
        return self.kind == "string" or self.kind.startswith("ASCII")

    @property
    def is_scaled(self) -> bool:
        """Whether the registers hold another number than the value."""
        return self.scale != 1 or self.offset != 0

    @property
    def reference(self) -> int:
        """The six-digit reference."""
        return self.address + REFERENCES[self.space]


def targets_of(config: Config | None) -> dict[int, Target | None]:
    """Return the configured targets, or all 64 without their settings."""
    return dict.fromkeys(TARGETS) if config is None else dict(sorted(config.targets.items()))


def longest_write(target: Target | None) -> int:
    """Return how many bytes of text one write of 123 registers can bring, which in `content` must hold the text's end, too."""
    if target and target.completion == "content" and target.registers:
        return 2 * min(target.registers, LONGEST_WRITE)
    if target and target.completion == "content" and target.format == "nul":
        # A NUL, of two bytes in UTF-16.
        return 2 * LONGEST_WRITE - (2 if target.encoding.startswith("utf-16") else 1)
    return 2 * LONGEST_WRITE


def reach(config: Config | None) -> tuple[str, int, int]:
    """Return host, port and unit id for a client of the device; the defaults where they are not known."""
    if config is None:
        return "127.0.0.1", 5020, 1
    listen = config.modbus.listen
    return listen.reachable_host, listen.port or 5020, config.modbus.unit_id


def device_tags(*, mirror: bool = True) -> list[Tag]:
    """Return the device block but for its points."""
    healthy = Tag(
        name="device.healthy", space=DISCRETE, address=0, count=1, kind="bool", access="read",
        meaning="strings can be accepted and are delivered",
    )  # fmt: skip
    return [healthy, *status_tags(DEVICE_STATUS, 0, "device", mirror=mirror)]


def image_tags() -> list[Tag]:
    """Return the process image, whole."""
    return [
        Tag(
            name="device.points", space=HOLDING, address=0, count=POINTS, kind="uint16", access="read/write",
            meaning="points: the process image, 0 when the device starts",
        ),
        Tag(
            name="device.coils", space=COIL, address=0, count=POINTS, kind="bool", access="read/write",
            meaning="points (booleans), 0 when the device starts",
        ),
    ]  # fmt: skip


def point_tags(config: Config | None) -> list[Tag]:
    """Return the points, by space and address."""
    points = config.points if config else ()
    return [_point_tag(point) for point in sorted(points, key=lambda p: (p.space, p.address, p.bit or 0))]


def _point_tag(point: Point) -> Tag:
    return Tag(
        name=point.name,
        space=HOLDING if point.space == "holding" else COIL,
        address=point.address,
        count=point.count,
        kind=point.type,
        access="read/write",
        meaning=point.description,
        unit=point.unit,
        bit=point.bit,
        scale=point.scale,
        offset=point.offset,
        word_order=point.word_order,
        byte_order=point.byte_order,
    )


def discrete_tags(targets: dict[int, Target | None]) -> Iterator[Tag]:
    """Yield the discrete inputs of the targets."""
    meanings = (
        "messages wait or are being sent",
        "the last message failed",
        "the target is configured and enabled",
        "the last write was answered 06: as many messages wait for this target as places are free",
    )
    for first, name, meaning in zip(DISCRETE_BLOCKS, DISCRETE_NAMES, meanings, strict=True):
        for number in targets:
            yield Tag(
                name=f"target/{number}.{name}", space=DISCRETE, address=first + number - 1, count=1, kind="bool",
                access="read", meaning=meaning,
            )  # fmt: skip


def text_tags(number: int, target: Target | None) -> list[Tag]:
    """Return the text of a target, and its commit register where it has one."""
    description = f" ({target.description})" if target and target.description else ""
    tags = [
        Tag(
            name=f"target/{number}.text", space=HOLDING, address=1000 * number,
            count=target.registers if target and target.registers else TEXT, kind="string", access="write",
            meaning=f"the string: 2 bytes a register, up to {2 * TEXT} bytes{description}",
            byte_order=target.byte_order if target else "big",
        )
    ]  # fmt: skip
    if target is None or target.completion == "commit":
        only = "" if target else " (completion commit only)"
        tags.append(
            Tag(
                name=f"target/{number}.commit", space=HOLDING, address=1000 * number + COMMIT, count=1, kind="uint16",
                access="write", unit="bytes",
                meaning=f"completes the string: its length, or 0 = up to the first NUL{only}",
            )
        )  # fmt: skip
    return tags


def status_tags(rows: tuple[Row, ...], block: int, prefix: str, *, mirror: bool = True) -> list[Tag]:
    """Return the status of a block as input registers, and its mirror as holding registers."""
    spaces = ((INPUT, 1000 * block), (HOLDING, 1000 * block + MIRROR)) if mirror else ((INPUT, 1000 * block),)
    return [
        Tag(
            name=f"{prefix}.{row.name}", space=space, address=first + row.offset, count=row.count, kind=row.kind,
            access="read", meaning=row.meaning, unit=row.unit,
        )
        for space, first in spaces
        for row in rows
    ]  # fmt: skip


def target_status_tags(number: int, *, mirror: bool = True) -> list[Tag]:
    """Return the status of one target."""
    return status_tags(TARGET_STATUS, number, f"target/{number}", mirror=mirror)
