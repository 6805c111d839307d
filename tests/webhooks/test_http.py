import email.parser
import email.policy
import os
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from tests.support import event_of, target_of
from vdevice.errors import BuildError, FileRefusedError
from vdevice.webhooks import http, masking, signing
from vdevice.webhooks.request import Request

anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def build(settings: str, value: str = "x", folder: Path = Path()) -> Request:
    config, target = target_of(settings, folder)
    return http.build(config, target, event_of(value), 1_750_000_000)


def header(request: Request, name: str) -> str:
    return dict(request.headers)[name]


@given(anything)
def test_no_value_moves_the_host_or_leaves_its_place_in_the_url(value: str) -> None:
    url = "https://u.example:8443/a/$VALUE/b?q=$VALUE&r=1"
    try:
        request = build(f'method = "get"\nurl = "{url}"', value)
    except BuildError:
        assert value in {".", ".."}
        return
    parts = urlsplit(request.url)
    assert (parts.scheme, parts.netloc, parts.fragment) == ("https", "u.example:8443", "")
    assert parts.path.count("/") == 3
    assert dict(parse_qsl(parts.query, keep_blank_values=True)) == {"q": value, "r": "1"}


@pytest.mark.parametrize(
    ("url", "parameters", "wanted"),
    [
        ("http://h", "[]", "http://h/"),
        ("http://h?a=1", '[["b", "2"]]', "http://h/?a=1&b=2"),
        ("http://h/p", '[["k $VALUE", "ä"], ["k", ""]]', "http://h/p?k%20x=%C3%A4&k="),
        ("HTTP://h/p?sig=a%2Fb+c%3D", "[]", "http://h/p?sig=a%2Fb+c%3D"),
        ("http://h/ü?ü", "[]", "http://h/%C3%BC?%C3%BC"),
        ("http://bücher.example/", "[]", "http://xn--bcher-kva.example/"),
        ("http://h/?", '[["a", "b"]]', "http://h/?a=b"),
    ],
)
def test_url(url: str, parameters: str, wanted: str) -> None:
    assert build(f'method = "get"\nurl = "{url}"\nparameters = {parameters}').url == wanted


@given(anything, anything)
def test_form_values_come_back_whole(key: str, value: str) -> None:
    request = build('method = "post-urlencoded"\nparameters = [["$VALUE", "a=$VALUE"], ["z", "end"]]', value)
    assert parse_qsl(request.body.decode(), keep_blank_values=True) == [(value, "a=" + value), ("z", "end")]
    assert header(request, "Content-Type") == "application/x-www-form-urlencoded"


@given(anything)
def test_multipart_parts_hold_any_value(value: str) -> None:
    request = build('method = "post-multipart"\nparameters = [["a", "$VALUE"], ["n$VALUE", "end"]]', value)
    head = f"Content-Type: {header(request, 'Content-Type')}\r\n\r\n".encode()
    boundary = header(request, "Content-Type").partition("boundary=")[2].encode()
    assert request.body.count(b"--" + boundary) == 3
    parts = request.body.split(b"--" + boundary + b"\r\n")[1:]
    assert parts[0].partition(b"\r\n\r\n")[2] == value.encode() + b"\r\n"
    assert parts[1].partition(b"\r\n\r\n")[2].startswith(b"end\r\n")
    assert len(email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + request.body).get_payload()) == 2


@given(anything)
def test_no_value_makes_another_header(value: str) -> None:
    try:
        request = build('headers = { X-Text = "a $VALUE" }', value)
    except BuildError:
        assert any(ord(c) < 32 or ord(c) == 127 for c in value)
        return
    assert request.head().count("\r\n") == len(request.headers) + 2


def test_json_and_xml_bodies_follow_their_content_type() -> None:
    payload = 'payload = \'{"a": "$VALUE"}\''
    assert build(f'content_type = "application/x+json"\n{payload}', '"').body == b'{"a": "\\""}'
    assert build(f'content_type = "text/plain"\n{payload}', '"').body == b'{"a": """}'
    assert build('content_type = "text/xml"\npayload = "<a>$VALUE</a>"', "<").body == b"<a>&lt;</a>"
    raw = f'content_type = "application/json"\nraw_variables = true\n{payload}'
    assert build(raw, '"').body == b'{"a": """}'


def test_the_body_is_in_the_charset_of_its_content_type() -> None:
    settings = 'content_type = "text/plain; charset=iso-8859-1"\npayload = "$VALUE"'
    assert build(settings, "ü").body == b"\xfc"
    with pytest.raises(BuildError, match="cannot hold"):
        build(settings, "€")


def test_credentials() -> None:
    basic = build('auth_user = "üser"\nauth_password = "p:w"')
    assert header(basic, "Authorization") == "Basic w7xzZXI6cDp3"
    assert header(build('bearer_token = "abc"'), "Authorization") == "Bearer abc"


def test_every_request_carries_its_event_id_and_the_version() -> None:
    config, target = target_of("")
    event = event_of("x")
    first, second = (http.build(config, target, event, now) for now in (0, 1))
    assert first == second
    assert header(first, "Idempotency-Key") == event.id
    assert header(first, "User-Agent").startswith("vdevice/")


def test_accept_and_user_agent_can_be_set() -> None:
    request = build('headers = { user-agent = "plc/1 $VALUE", Accept = "application/json" }')
    named = [(name.lower(), value) for name, value in request.headers]
    assert [value for name, value in named if name == "user-agent"] == ["plc/1 x"]
    assert [value for name, value in named if name == "accept"] == ["application/json"]
    config, target = target_of('headers = { Accept = "*/*", X-Key = "*/secret" }')
    shown = masking.shown(target, http.build(config, target, event_of("x"), 0))
    assert "Accept: */*" in shown
    assert "secret" not in shown


@given(st.binary(max_size=200))
def test_signatures_hold_for_any_bytes(body: bytes) -> None:
    secret = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    found = dict(signing.sign(secret, "msg_1", 1_614_265_330.9, body))
    assert found["webhook-timestamp"] == "1614265330"
    assert found["webhook-signature"].startswith("v1,")


def test_signatures_are_those_of_the_standard() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    import time  # noqa: PLC0415

    headers = dict(signing.sign(secret, "id", time.time(), b'{"test": 2432232314}'))
    assert Webhook(secret).verify(b'{"test": 2432232314}'.decode(), headers) == {"test": 2432232314}


def test_files_are_sent_in_both_forms(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "p x.png").write_bytes(b"\x89PNG\r\n\xff &=")
    urlencoded = build('method = "post-urlencoded"\nparameters = [["f", "file:p $VALUE.png"]]', "x", tmp_path)
    assert urlencoded.body == b"f=%89PNG%0D%0A%FF+%26%3D"
    multipart = build('method = "post-multipart"\nparameters = [["f", "file:p $VALUE.png"]]', "x", tmp_path)
    assert b'name="f"; filename="p x.png"\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n\xff &=\r\n--' in multipart.body


def test_a_value_cannot_name_a_file_by_itself() -> None:
    request = build('method = "post-urlencoded"\nparameters = [["f", "$VALUE"]]', "file:secret.txt")
    assert request.body == b"f=file%3Asecret.txt"


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "a/../../secret",
        "link",
        "linkdir/secret",
        "missing",
        "",
        "folder",
        "fifo",
        "big",
        "a\0b",
        "/secret",
        "a\ud800",
    ],
)
def test_files_outside_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    root = tmp_path / "files"
    (root / "folder").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "linkdir").symlink_to(tmp_path)
    (root / "big").write_bytes(b"x" * 11_000_000)
    os.mkfifo(root / "fifo")
    with pytest.raises(FileRefusedError):
        build('method = "post-multipart"\nparameters = [["f", "file:$VALUE"]]', name, tmp_path)


def test_masking_hides_every_secret() -> None:
    settings = """
    method = "slack"
    url = "https://hooks.slack.com/services/T0/B0/verysecret"
    payload = "$VALUE"
    auth_user = "me"
    auth_password = "hunter2"
    signing_secret = "whsec_c2VjcmV0c2VjcmV0"
    headers = { X-Key = "key-1234" }
    """
    config, target = target_of(settings)
    request = http.build(config, target, event_of("x"), 0)
    shown = masking.mask(target, request.head() + request.url)
    for secret in ("verysecret", "hunter2", "bWU6aHVudGVyMg==", "key-1234", "c2VjcmV0"):
        assert secret not in shown
    assert "hooks.slack.com" in shown
