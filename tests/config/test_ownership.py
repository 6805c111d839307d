from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdevice.config.ownership import KEPT, problems
from vdevice.config.schema import Web

THERE: dict[str, Any] = {
    "method": "post-raw",
    "url": "https://a.example/hook",
    "bearer_token": "secret",
    "headers": {"X-Key": {"env": "KEY"}},
    "tls_ca": "ca.pem",
}
GIVEN = {**THERE, "bearer_token": KEPT}


def paths(given: dict[str, Any], there: dict[str, Any] = THERE, web: Web | None = None) -> list[str]:
    return [one.path for one in problems("targets.7", given, there, web or Web(), Path("/etc/vdevice"))]


BOTH = ["targets.7.bearer_token", "targets.7.headers.X-Key"]


@pytest.mark.parametrize("url", ["https://a.example/other?x=1", "HTTPS://A.example:443/hook", KEPT])
def test_secrets_are_kept_for_the_same_origin(url: Any) -> None:
    assert paths({**GIVEN, "url": url}) == []


@pytest.mark.parametrize(
    "change",
    [
        {"url": "http://a.example/hook"},
        {"url": "https://a.example:8443/hook"},
        {"url": "https://b.example/hook"},
        {"url": "https://a.example.evil/hook"},
        {"url": "https://["},
        {"proxy": "http://evil.example:3128"},
        {"tls_ca": "evil.pem"},
        {"url": 5},
    ],
)
def test_secrets_are_not_kept_where_the_request_goes_another_way(change: dict[str, Any]) -> None:
    assert paths({**GIVEN, **change}) == BOTH
    anew = {**GIVEN, **change, "bearer_token": "new", "headers": {"X-Key": "new"}}
    assert paths(anew) == []


@pytest.mark.parametrize(
    ("value", "is_allowed"),
    [
        ({"env": "VDEVICE_TOKEN"}, True),
        ({"env": "AWS_SECRET_ACCESS_KEY"}, False),
        ({"file": "secrets/token"}, True),
        ({"file": "/etc/vdevice/secrets/a/b"}, True),
        ({"file": "/etc/shadow"}, False),
        ({"file": "secrets/../vdevice.users.json"}, False),
        ({"file": "secretsx"}, False),
        ({"file": "secrets/\0"}, True),
    ],
)
@pytest.mark.parametrize("key", ["url", "bearer_token", "auth_password", "signing_secret", "proxy", "headers"])
def test_the_page_names_files_and_variables_of_one_place(key: str, value: dict[str, str], *, is_allowed: bool) -> None:
    given = {"url": "https://a.example/hook", key: {"X": value} if key == "headers" else value}
    assert (paths(given) == []) is is_allowed
    assert paths(given, given) == []


def test_empty_settings_allow_none() -> None:
    web = Web(secret_files="", secret_env="")
    assert paths({**THERE, "bearer_token": {"env": ""}, "auth_password": {"file": "x"}}, web=web) == [
        "targets.7.auth_password",
        "targets.7.bearer_token",
    ]


plain = st.sampled_from([None, True, 5, "", "x", "\0", "https://[", "https://a.example/x"])
json = (
    plain
    | st.dictionaries(st.sampled_from(["env", "file", "kept"]), plain)
    | st.just(KEPT)
    | st.lists(plain, max_size=2)
)
KEYS = st.sampled_from(["url", "bearer_token", "headers", "proxy", "tls_ca", "auth_password"])


@given(st.dictionaries(KEYS, json), st.dictionaries(KEYS, json))
def test_whatever_is_given_is_judged_without_an_error(given: dict[str, Any], there: dict[str, Any]) -> None:
    assert all(one.startswith("targets.7.") for one in paths(given, there))
