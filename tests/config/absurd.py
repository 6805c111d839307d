"""Absurd values of the right type for each setting of `vdevice.toml`: as a program or a slip writes them."""

import itertools
import os
import types
import typing
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st

from tests.config.test_fuzz import toml
from vdevice.cli.authority import write_all
from vdevice.config.load import SECTIONS
from vdevice.config.schema import Client, Permits, Point, Rule, Target, Tls, When

LONG = 5_000
"""More characters than a file name, a number or a host name may have."""

TEXTS = (
    *(
        "",
        " ",
        "\t",
        "\n",
        "\r\n",
        "\x00",
        "\x1b[31m",
        "\x7f",
        "\u2028",
        "\u202e",
        "\ufeff",
        "\U0010ffff",
        "0",
        "-1",
        "٣",
    ),
    *(
        "a" * LONG,
        "1" * LONG,
        "é" * LONG,
        "[" * LONG,
        "../" * LONG,
        "a\x00b",
        "$" * LONG,
        "${" * LONG,
        "(a+)+$",
        "%" * 99,
    ),
    *("http://[::1", "http://a℀b/", "http://[::1]]/", "http://[fe80::1%25eth0]/", "http://[v1.x]/", "http://a:99999/"),
    *(
        "http://a:-1/",
        "http://a:\uff11/",
        "http://:80/",
        "http:///x",
        "http://../",
        f"http://{'a' * 300}.example/",
        "http://.a/",
    ),
    *(
        f"http://a/{'x' * LONG}",
        "http://a/\ud7ff%zz$VALUE",
        "http://xn--a/",
        "http://0x7f.1/",
        "http://a?$",
        "HTTP://\uff21/",
    ),
    *(
        "127.0.0.1:0",
        "127.0.0.1:65536",
        f"127.0.0.1:{'0' * LONG}1",
        f"127.0.0.1:{'9' * LONG}",
        "[::1]:5",
        "::1:5",
        ":5",
        "[:5",
    ),
    *("10.0.0.0/33", "10.0.0.1/8", f"10.0.0.0/{'1' * LONG}", "::/0", "0.0.0.0/0", "fe80::1%eth0", "1.2.3"),
    *("nats://", "nats://[::1", "nats://a℀b", f"nats://{',' * LONG}", "nats://a:99999", "tls://a?b", "nats://a,b,[c"),
    *(
        "sqlite:///",
        f"sqlite:///{'a' * LONG}",
        "sqlite:///\x00",
        "sqlite:////dev/null",
        "sqlite:///.",
        "sqlite:///a/b/c.db",
    ),
    *("Europe/../../etc/passwd", "/etc/localtime", "Europe", "UTC\x00", "posixrules", "Etc/GMT+99"),
    *(
        "/",
        ".",
        "..",
        "/dev/zero",
        "/dev/stdin",
        "/proc/self/mem",
        "fifo",
        "folder",
        "half.pem",
        "empty.pem",
        "loop",
        "~",
    ),
    *(
        "text/plain; charset=undefined",
        f"text/plain; charset={'a' * LONG}",
        "a/b; charset=idna",
        "; charset",
        "application/json",
    ),
    *(
        'a/b; charset="',
        "a/b; charset*=utf-8''%00",
        "a/b; charset=utf-8\x00",
        "application/xml",
        "application/json-seq",
    ),
    *(
        "${VALUE:.999999999f}",
        "${VALUE:999999999d}",
        "${TIMESTAMP:%",
        "${point:}",
        "${secret:}",
        "file:",
        "file:\x00",
        "file:../x",
    ),
    *(
        "target/0",
        "target/65",
        f"target/{'1' * LONG}",
        "target/\u0667",
        "whsec_",
        f"whsec_{'A' * LONG}",
        "@",
        "{}",
        "[]",
        "null",
    ),
    *(
        '{"a":' * LONG,
        "1e999",
        "NaN",
        '"\\ud800"',
        '<?xml version="1.0" encoding="undefined"?>',
        "9xx",
        "2xx",
        "*.",
        "*.*",
    ),
)
WHOLE = (0, 1, -1, 2, 16, 100, 2**15, 2**16, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400)
BROKEN = (float("inf"), float("-inf"), float("nan"), 1e308, -1e308, 5e-324, 1e-300, -0.0, 0.0, 0.1, 1e9, 1e18, 1.5)

texts = st.sampled_from(TEXTS) | st.text(max_size=20)
Place = tuple[str | int, ...]


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Return absurd values of the type of a setting, as they stand in TOML."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return values(parts[0])
    if origin in {typing.Union, types.UnionType}:
        return st.one_of(*(values(part) for part in parts if part is not types.NoneType))
    if origin is typing.Literal:
        return st.sampled_from(parts)
    if origin in {list, tuple}:
        inner = values(parts[0])
        return inner.flatmap(lambda item: st.sampled_from([[], [item], [item] * 2, [item] * 300])) | st.lists(
            inner, max_size=3
        )
    if origin is dict:
        return st.dictionaries(texts, values(parts[1]), max_size=3)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return st.just({})
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.sampled_from(WHOLE)
    if kind is float:
        return st.sampled_from(BROKEN) | st.sampled_from(WHOLE)
    return texts | st.builds(lambda key, name: {key: name}, st.sampled_from(["env", "file"]), texts)


def _tables() -> dict[Place, tuple[type[msgspec.Struct], dict[str, Any]]]:
    """Return each table that a config may have with the settings that it needs."""
    url = {"url": "http://127.0.0.1:9/"}
    tls = {"cert": "good.pem", "key": "good.pem", "client_ca": "good.pem", "listen": "127.0.0.1:0"}
    return {
        **{(name,): (kind, {}) for name, kind in SECTIONS.items()},
        ("modbus",): (SECTIONS["modbus"], {"listen": "127.0.0.1:0"}),
        ("web",): (SECTIONS["web"], {"enabled": False}),
        ("modbus", "clients", "plc"): (Client, {"address": "10.0.0.1"}),
        ("modbus", "tls"): (Tls, tls),
        ("modbus", "tls", "roles", "r"): (Permits, {}),
        ("targets", "1"): (Target, {"method": "get", **url}),
        ("targets", "2"): (Target, {"method": "post-raw", "payload": "$VALUE", **url}),
        ("targets", "3"): (Target, {"method": "post-multipart", "parameters": [["a", "$VALUE"]], **url}),
        ("targets", "4"): (Target, {"method": "mattermost", "payload": "$VALUE", **url}),
        ("targets", "5"): (Target, {"method": "post-raw", "content_type": "application/json", "payload": '"$VALUE"', **url}),
        ("points", 0): (Point, {"name": "p", "space": "holding", "address": 10, "type": "float32"}),
        ("points", 1): (Point, {"name": "s", "space": "holding", "address": 20, "type": "string", "length": 5}),
        ("rules", 0): (Rule, {"source": "p", "template": "$VALUE", "destinations": ["target/1", "s"]}),
        ("rules", 0, "when"): (When, {"above": 1}),
        ("rules", 1): (Rule, {"source": "s", "destinations": ["target/2"]}),
    }  # fmt: skip


def prepare(folder: Path) -> None:
    """Put into a folder what absurd file names lead to."""
    folder.mkdir(exist_ok=True)
    if not (folder / "folder").exists():
        os.mkfifo(folder / "fifo")
        (folder / "folder").mkdir()
        (folder / "loop").symlink_to("loop")
        (folder / "empty.pem").write_bytes(b"")
        write_all(folder, ["localhost"], ["operator"])
        (folder / "good.pem").write_bytes((folder / "server.pem").read_bytes() + (folder / "server.key").read_bytes())
        (folder / "half.pem").write_text("-----BEGIN CERTIFICATE-----\nMIIB")


@st.composite
def configs(draw: st.DrawFn) -> tuple[str, str]:
    """Return a config that is right but for one setting, and the path of that setting."""
    tables = _tables()
    place = draw(st.sampled_from(list(tables)))
    fields = [field for field in msgspec.structs.fields(tables[place][0]) if field.name not in {"number", "rules"}]
    field = draw(st.sampled_from(fields))
    value = draw(values(field.type))
    return text_of(tables, place, field.name, value)


def text_of(
    tables: dict[Place, tuple[type[msgspec.Struct], dict[str, Any]]], place: Place, name: str, value: Any
) -> tuple[str, str]:
    """Return a config of these tables with one setting more, and the path of that setting."""
    raw: dict[str, Any] = {"points": [], "rules": []}
    for at, (_, settings) in tables.items():
        inside: Any = raw
        for key, following in itertools.pairwise(at):
            inside = (
                inside[key]
                if isinstance(key, int)
                else inside.setdefault(key, [] if isinstance(following, int) else {})
            )
        filled = {**settings, name: value} if at == place else dict(settings)
        if isinstance(at[-1], int):
            inside.append(filled)
        else:
            inside[at[-1]] = {**filled, **inside.get(at[-1], {})}
    shown = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place).removeprefix(".")
    return "\n".join(f"{key} = {toml(table)}" for key, table in raw.items()), f"{shown}.{name}"
