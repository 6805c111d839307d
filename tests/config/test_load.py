import re
from pathlib import Path

import pytest

from vdevice.config.example import EXAMPLE
from vdevice.config.load import load, parse
from vdevice.errors import ConfigError

FOLDER = Path()


def problems(toml: str, folder: Path = FOLDER) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        parse(toml, folder)
    return {problem.path: problem.message for problem in caught.value.problems}


def target(settings: str) -> str:
    return f'[targets.7]\nmethod = "post-raw"\nurl = "http://x/y"\n{settings}'


def test_every_problem_is_reported_at_once() -> None:
    found = problems(
        """
        [device]
        timezone = "Mars"
        [modbus]
        listen = "here"
        unit_id = "one"
        [delivery]
        attempts = 0
        [targets.7]
        method = "gett"
        timeot = 3
        [targets.65]
        [targets.8]
        method = "slack"
        url = "slack.com/x"
        """
    )
    assert set(found) == {
        "device.timezone",
        "modbus.listen",
        "modbus.unit_id",
        "delivery.attempts",
        "targets.7.method",
        "targets.7.timeot",
        "targets.7.url",
        "targets.65",
        "targets.8.url",
        "targets.8.payload",
    }
    assert "did you mean timeout" in found["targets.7.timeot"]
    assert "post-urlencoded" in found["targets.7.method"]


@pytest.mark.parametrize(
    ("settings", "path", "words"),
    [
        ('parameters = [["a", "b"]]', "targets.7.parameters", "not used by method post-raw"),
        ('destination = "x"', "targets.7.destination", "not used by method"),
        ('bearer_token = "x"\nauth_user = "y"', "targets.7.bearer_token", "keep one"),
        ('bearer_token = "a\\nb"', "targets.7.bearer_token", "line break"),
        ('auth_user = "a:b"', "targets.7.auth_user", "colon"),
        ('signing_secret = "whsec_*"', "targets.7.signing_secret", "base64"),
        ('headers = { "X Y" = "1" }', "targets.7.headers.X Y", "not a header name"),
        ('headers = { Host = "1" }', "targets.7.headers.Host", "by vdevice itself"),
        ('headers = { A = "1\\n2" }', "targets.7.headers.A", "line break"),
        ('headers = { A = { file = "missing" } }', "targets.7.headers.A", "cannot be read"),
        ('content_type = "application/json"\npayload = "{"', "targets.7.payload", "line 1, column 2"),
        ('content_type = "application/json"\npayload = \'{"a": $VALUE}\'', "targets.7.payload", "inside strings"),
        ('content_type = "x/y; charset=klingon"', "targets.7.content_type", "unknown charset"),
        ('content_type = "x/y; charset=rot13"', "targets.7.content_type", "unknown charset"),
        ('content_type = "x/y; charset=base64"', "targets.7.content_type", "unknown charset"),
        ('content_type = "x/y; charset=unicode_escape"', "targets.7.content_type", "unknown charset"),
        ('content_type = "x/y; charset=idna"', "targets.7.content_type", "unknown charset"),
        ('completion = "content"\nformat = "fixed"', "targets.7.completion", "use commit or idle"),
        ('word_order = "little"', "targets.7.word_order", "length32 only"),
        ('format = "s7-wstring"\nencoding = "cp1252"', "targets.7.encoding", "always utf-16-be"),
        ("idle_ms = 100", "targets.7.idle_ms", "completion idle only"),
        ("staging_timeout = 90", "targets.7.staging_timeout", "content and commit only"),
        ('completion = "idle"\nstaging_timeout = 90', "targets.7.staging_timeout", "content and commit only"),
        ("registers = 10", "targets.7.registers", "completion content only"),
        ('completion = "commit"\nregisters = 10', "targets.7.registers", "completion content only"),
        ('completion = "content"\nformat = "length16"\nregisters = 10', "targets.7.registers", "nul and fixed only"),
        ('completion = "content"\nregisters = 0', "targets.7.registers", ">= 1"),
        ('completion = "content"\nregisters = 901', "targets.7.registers", "<= 900"),
        ('trim = "yes"', "targets.7.trim", "bool"),
        ('tls_ca = "missing.pem"', "targets.7.tls_ca", "not there"),
        ('bearer_token = ""', "targets.7.bearer_token", "is empty"),
        ('proxy = "socks5://x"', "targets.7.proxy", "not an HTTP proxy"),
        ('proxy = "http://10.0.0.1:99999"', "targets.7.proxy", "not an HTTP proxy"),
        ('proxy = "http://:3128"', "targets.7.proxy", "not an HTTP proxy"),
        ('proxy = "http://[::1:3128"', "targets.7.proxy", "not an HTTP proxy"),
        ("success = [200, 'ok']", "targets.7.success[1]", "regex"),
    ],
)
def test_a_wrong_setting_is_named_with_the_way_out(settings: str, path: str, words: str) -> None:
    assert words in problems(target(settings))[path]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("slack.com/x", "no scheme"),
        ("ftp://x/y", "only http and https"),
        ("http://$VALUE/y", "host or port"),
        ("http://x:$VALUE/y", "host or port"),
        ("http://u:p@x/y", "credentials"),
        ("http://x/y#z", "fragment"),
        ("http://x/a b", "blank"),
        ("http:///y", "no host"),
        ("http://x:99999/", "host or port that cannot be"),
    ],
)
def test_a_url_that_cannot_be_sent_is_refused(url: str, words: str) -> None:
    assert words in problems(f'[targets.1]\nmethod = "get"\nurl = "{url}"')["targets.1.url"]


@pytest.mark.parametrize("seconds", ["0", "-1", "301", "inf", "nan", '"5"'])
def test_the_time_for_an_answer_is_bounded(seconds: str) -> None:
    assert set(problems(f"[modbus]\nanswer_timeout = {seconds}")) == {"modbus.answer_timeout"}


def test_two_targets_in_one_place_are_refused() -> None:
    table = 'method = "get"\nurl = "http://x/"\n'
    assert "again" in problems(f"[targets.7]\n{table}[targets.07]\n{table}")["targets.07"]


@pytest.mark.parametrize(
    ("settings", "path", "words"),
    [
        ('url = "nats://u:p@h:4222"', "outbox.url", "credentials"),
        ('url = "nats://h:4222,nats://"', "outbox.url", "no NATS server"),
        ('url = "nats://h:port"', "outbox.url", "no NATS server"),
        ('url = "redis://h"', "outbox.url", "no outbox"),
        ("replicas = 3", "outbox.replicas", "nats:// outbox only"),
        ('tls_ca = "ca.pem"', "outbox.tls_ca", "nats:// outbox only"),
        ('url = "tls://h"\ncredentials = "none.creds"', "outbox.credentials", "not there"),
        ('url = "tls://h"\ntls_cert = "none.pem"', "outbox.tls_cert", "not there"),
    ],
)
def test_settings_of_the_outbox_that_cannot_work(settings: str, path: str, words: str) -> None:
    assert words in problems(f"[outbox]\n{settings}")[path]


def test_a_credentials_file_must_be_one(tmp_path: Path) -> None:
    (tmp_path / "user.creds").write_text("-----BEGIN NATS USER JWT-----\nx\n")
    with pytest.raises(ConfigError, match="no credentials file"):
        parse('[outbox]\nurl = "nats://h"\ncredentials = "user.creds"', tmp_path)


def test_a_nats_url_names_the_servers_of_a_cluster() -> None:
    url = "nats://a:4222, b:4223,nats://[::1]:4224/"
    outbox = parse(f'[outbox]\nurl = "{url}"\nreplicas = 3', Path()).outbox
    assert outbox.servers == ["nats://a:4222", "nats://b:4223", "nats://[::1]:4224"]


def test_secrets_come_from_environment_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", "https://hooks.example/T/B/hidden")
    (tmp_path / "token").write_text("abc\n")
    toml = '[targets.1]\nmethod = "get"\nurl = { env = "HOOK" }\nbearer_token = { file = "token" }'
    loaded = parse(toml, tmp_path).targets[1]
    assert loaded.url.reveal() == "https://hooks.example/T/B/hidden"
    assert loaded.bearer_token is not None
    assert loaded.bearer_token.reveal() == "abc"
    assert "hidden" not in repr(loaded)
    assert "abc" not in repr(loaded)


def test_a_secret_that_is_not_there_names_its_variable() -> None:
    found = problems('[targets.1]\nmethod = "get"\nurl = { env = "NOT_SET_ANYWHERE" }')
    assert "NOT_SET_ANYWHERE is not set" in found["targets.1.url"]


def test_targets_take_what_they_do_not_set_from_delivery() -> None:
    toml = '[delivery]\ntimeout = 3\nattempts = 4\n[targets.1]\nmethod = "get"\nurl = "http://x/"\nattempts = 5'
    loaded = parse(toml, FOLDER).targets[1]
    assert (loaded.timeout, loaded.attempts) == (3, 5)


def test_the_most_specific_client_gives_the_name() -> None:
    toml = """
    [modbus.clients.plant]
    address = "10.0.0.0/8"
    [modbus.clients.boiler]
    address = "10.0.0.5"
    """
    config = parse(toml, FOLDER)
    assert [config.client_name(a) for a in ("10.0.0.5", "10.1.1.1", "192.168.0.1")] == [
        "boiler",
        "plant",
        "192.168.0.1",
    ]


def test_the_example_is_right() -> None:
    assert list(parse(EXAMPLE, FOLDER).targets) == [1]


def test_the_example_is_right_with_its_comments_switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/x")
    on = re.sub(r"^# (?=\[|\w+ = )", "", EXAMPLE, flags=re.MULTILINE)
    assert on != EXAMPLE
    assert list(parse(on, FOLDER).targets) == [1, 2]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"[targets", "not TOML"), (b"\xff\xfe", "not UTF-8"), (None, "vdevice init")],
    ids=["not toml", "not utf-8", "missing"],
)
def test_a_file_that_is_no_config_is_one_sentence(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "vdevice.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        load(path)
