"""Whatever encoding a service repeats a secret in, it is found there, and nothing else is changed."""

import base64
import html
import json
import random
import re
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vdevice.config import Target
from vdevice.config.secret import Secret
from vdevice.webhooks import masking
from vdevice.webhooks.encodings import needles, replaced

SECRET = "T0k/en+ =&\"<ü>'x%41"
ENCODINGS: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "percent": lambda text: quote(text, safe=""),
    "percent, small digits": lambda text: re.sub("%..", lambda found: found[0].lower(), quote(text)),
    "percent, all": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "form": quote_plus,
    "html": html.escape,
    "html, decimal": lambda text: "".join(f"&#{ord(one)};" for one in text),
    "html, hex": lambda text: "".join(f"&#x{ord(one):x};" for one in text),
    "json": lambda text: json.dumps(text)[1:-1],
    "json, slashes": lambda text: json.dumps(text)[1:-1].replace("/", r"\/"),
    "json, all": lambda text: re.sub("(....)", r"\\u\1", text.encode("utf-16-be").hex()),
    "json in json": lambda text: json.dumps(json.dumps(text)[1:-1].replace("/", r"\/"))[1:-1],
    "json in a form": lambda text: quote_plus(json.dumps(text)),
    "html in json": lambda text: json.dumps(html.escape(text)),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 in a larger whole": lambda text: base64.b64encode(f"u:{text}:x".encode()).decode(),
    "base64 in lines": lambda text: base64.encodebytes(
        f"Authorization: Bearer, for a long name, {text}, ok".encode()
    ).decode(),
    "base64 in lines, in json": lambda text: json.dumps(base64.encodebytes(f"{'x' * 49}{text}:x".encode()).decode()),
    "hex": lambda text: text.encode().hex(),
    "hex, capital": lambda text: text.encode().hex().upper(),
    "hex in json": lambda text: json.dumps({"key": text.encode().hex()}),
    "base64, for URLs, in a form": lambda text: quote_plus(base64.urlsafe_b64encode(f"{text}:x".encode()).decode()),
}


def target(secret: str) -> Target:
    return Target(number=7, url=Secret("https://a.example/"), method="post-raw", bearer_token=Secret(secret))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_secret_is_found_in_every_encoding(encoding: str) -> None:
    coded = ENCODINGS[encoding](SECRET)
    found = masking.mask(target(SECRET), f"before {coded} behind")
    assert found.startswith("before ")
    assert found.endswith(" behind")
    assert "***" in found
    assert coded not in found
    if "base64" not in encoding:
        assert found.strip('"') == "before *** behind" or found.count("***") == 1
    assert masking.mask_bytes(target(SECRET), coded.encode()).count(b"***") >= 1


secrets = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=12, max_size=20)


@given(secrets, st.lists(st.sampled_from(sorted(ENCODINGS)), min_size=1, max_size=2), st.randoms(use_true_random=False))
@example("/" * 12, ["json in json"], random.Random(1))
def test_no_encoding_of_an_encoding_hides_a_secret(secret: str, encodings: list[str], draw: random.Random) -> None:
    coded = secret
    # What base64 and hex digits hold is not decoded: it is looked for as a whole, so first.
    whole = {one for one in ENCODINGS if "base64" in one or one.startswith("hex")}
    for one in sorted(encodings, key=lambda one: one not in whole)[:2]:
        if one not in whole or coded == secret:
            coded = ENCODINGS[one](coded)
    padding = "".join(draw.choice("abc ") for _ in range(5))
    assert "***" in masking.mask(target(secret), f"{padding} {coded} {padding}")


@given(st.binary(max_size=200))
def test_bytes_without_a_secret_stay_as_they_are(content: bytes) -> None:
    wanted = sorted(needles("a long secret of somebody"))
    assert replaced(content, wanted, b"***") is content


@given(
    st.lists(
        st.sampled_from(
            [b"%", b"&", b"\\", b"u", b"0", b"4", b"1", b"#", b"x", b";", b"amp", b"d83d", b"A", b"\n", b"n"]
        )
    )
)
def test_whatever_looks_like_an_encoding_raises_nothing(parts: list[bytes]) -> None:
    content = b"".join(parts)
    assert b"A" not in replaced(content, [b"A"], b"***")


others = st.text(st.characters(min_codepoint=0xA0, exclude_categories=["Cs"]), min_size=1, max_size=4)


@given(others, others)
@example("°", "адрес")
@example("passé", "pass阿")
def test_a_secret_in_latin_1_splits_no_character_of_other_words(secret: str, words: str) -> None:
    shown = words.replace(secret, "***")
    assert masking.mask(target(secret), words) in {shown, re.sub(r"[*]{3,}", "***", shown)}
    if secret not in words:
        assert masking.mask_bytes(target(secret), words.encode()) == words.encode()


def test_a_secret_in_latin_1_is_found_in_a_response_in_latin_1() -> None:
    assert masking.mask_bytes(target("passé"), "é passé é".encode("latin-1")) == b"\xe9 *** \xe9"


def test_a_hostile_response_is_looked_through_in_no_time() -> None:
    wanted = sorted(needles("a long secret of somebody"))
    started = time.process_time()
    for one in (b"%25", b"&#37;", b"\\u0025", b"%", b"\\", b"&amp;"):
        replaced(one * (65536 // len(one)), wanted, b"***")
    assert time.process_time() - started < 3


@pytest.mark.parametrize(
    ("url", "said", "shown"),
    [
        ("https://a.example/p?token=abcd-1", "wrong token abcd-1", "wrong token ***"),
        ("https://a.example/p?x=0123456789abcdef", "no 0123456789abcdef", "no ***"),
        ("https://a.example/p?channel=ops&key=$VALUE", "no ops, $VALUE", "no ops, $VALUE"),
    ],
)
def test_a_key_in_a_url_is_a_secret_also_alone(url: str, said: str, shown: str) -> None:
    plain = Target(number=7, url=Secret(url), method="post-raw")
    assert masking.mask(plain, said) == shown
    hidden = Target(number=7, url=Secret("https://a.example/x/0123456789abcdef/y", literal=True), method="post-raw")
    assert masking.mask(hidden, "no 0123456789abcdef") == "no ***"
