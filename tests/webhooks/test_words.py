import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vdevice.webhooks.words import words_of

SAID = [
    ('{"error":{"message":"MessageSizeExceeded"}}', "MessageSizeExceeded"),
    ('{"ok":false,"error":"channel_not_found"}', "channel_not_found"),
    ('{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}', "Bad Request: chat not found"),
    ('{"code":50006,"message":"Cannot send an empty message"}', "Cannot send an empty message"),
    ('{"type":"about:blank","title":"Out of credit","detail":"Your balance is 30"}', "Your balance is 30"),
    ('{"title":"Out of credit"}', "Out of credit"),
    ('{"errors":[{"message":"first"},{"message":"second"}]}', "first"),
    ('{"message":"","error":"second"}', "second"),
    ('{"message":null,"detail":[{"msg":"field required"}]}', "field required"),
    ('"plain"', "plain"),
    ('{"a":"b"}', ""),
    ("[]", ""),
    ("", ""),
    ("\r\n \n no hook \nmore", " no hook "),
    ("invalid_payload", "invalid_payload"),
    ("<html><head><title>413 Request Entity Too Large</title></head><body><h1>x</h1>", "413 Request Entity Too Large"),
    ("<!DOCTYPE html>\n<TITLE lang='de'>Zugriff &amp; mehr</TITLE>", "Zugriff & mehr"),
    ("<html><script>var a = '<b>';</script><style>p {}</style><!-- no --><body><h1>Bad Gateway</h1>", "Bad Gateway"),
    ('<?xml version="1.0"?><Error><Message>No such key</Message></Error>', "No such key"),
    ("\ufeffwith a mark", "with a mark"),
    (r'{"message":"a\ud800b"}', "a\ufffdb"),
]


@pytest.mark.parametrize(("body", "words"), SAID)
def test_a_response_speaks_for_itself(body: str, words: str) -> None:
    assert words_of(body.encode()) == words


@pytest.mark.parametrize(
    ("content_type", "body", "words"),
    [
        ("text/plain; charset=iso-8859-1", b"ung\xfcltig", "ungültig"),
        ("text/plain; charset=rot13", b"abc", "abc"),
        ("text/plain; charset=base64", b"abc", "abc"),
        ("text/plain; charset=\udcff", b"abc", "abc"),
        ('text/plain; charset="', b"abc", "abc"),
        ("application/json", '{"message": "ü"}'.encode("utf-16"), "ü"),
        ("", b"\xff\xfe", ""),
    ],
)
def test_a_response_is_read_in_its_charset(content_type: str, body: bytes, words: str) -> None:
    assert words_of(body, content_type) == words


# What looks most like JSON, HTML and XML to a careless reader.
pieces = st.sampled_from(
    [
        *(b"{", b"}", b"[" * 2000, b'"', b"message", b":", b"\\ud800", b"9" * 5000, b"1e999", b"null"),
        *(b"<", b">", b"<title>", b"<!--", b"<script", b"&#xd800;", b"&#1;"),
        *(b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\n"),
    ]
)
bodies = st.binary(max_size=200) | st.lists(pieces, max_size=12).map(b"".join)
headers = st.text(max_size=30) | st.sampled_from(["text/plain; charset=", "; charset=idna", "text/html; charset=utf-7"])


@given(bodies, headers)
@example(b"[" * 100_000, "")
@example(b"<" * 100_000, "")
@example(b"<!--" * 20_000, "")
@example(b"<title" * 20_000, "")
def test_whatever_a_response_holds_its_words_can_be_encoded(body: bytes, content_type: str) -> None:
    words_of(body, content_type).encode("utf-8")


json_texts = st.recursive(
    st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=10) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["error", "message", "x"]), inner),
    max_leaves=10,
)


@given(json_texts)
def test_words_are_some_text_of_the_document(document: object) -> None:
    words = words_of(json.dumps(document).encode())
    assert not words or json.dumps(words)[1:-1] in json.dumps(document)
