import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdevice.config.redact import without_secrets
from vdevice.errors import VdeviceError

CONFIG = """# the plant
[targets.7]   # boiler
method = "post-raw"
url = "https://example.com/hook?key=abc"   # with a key
auth_user = "u"
auth_password = 'p"w'
payload = "$VALUE"
headers = { X-Key = "k1", Y = { env = "Z" } }

[targets.8]
method = "get"
url = { file = "url" }
"""


def test_secrets_are_taken_out_and_all_else_stays() -> None:
    text, names = without_secrets(CONFIG)
    assert names == ["VDEVICE_TARGETS_7_URL", "VDEVICE_TARGETS_7_AUTH_PASSWORD", "VDEVICE_TARGETS_7_HEADERS_X_KEY"]
    for secret in ("abc", 'p"w', "k1"):
        assert secret not in text
    assert [line.partition("=")[0] for line in text.splitlines()] == [
        line.partition("=")[0] for line in CONFIG.splitlines()
    ]
    assert "# boiler" in text
    assert "# with a key" in text
    assert without_secrets(text) == (text, [])


def test_a_secret_that_stands_elsewhere_is_not_guessed_at() -> None:
    with pytest.raises(VdeviceError, match="--secrets"):
        without_secrets('[targets.7]\nurl = "x"\npayload = "x"\n')


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\'), min_size=1))
def test_no_secret_is_left_or_it_says_so(secret: str) -> None:
    try:
        text, _ = without_secrets(f'[targets.7]\nmethod = "get"\nurl = "{secret}"\n')
    except VdeviceError:
        return
    assert isinstance(tomllib.loads(text)["targets"]["7"]["url"], dict)


COMMENTS = [
    'bearer_token = "{}"',
    "token={}",
    "password: {}",
    "the token is {}",
    "Kennwort {}",
    "https://x.example/{}",
    "{}",
]


@pytest.mark.parametrize("form", COMMENTS)
@pytest.mark.parametrize("before", ["", "[device]   ", '[targets.7]\nurl = "https://x.example/"   '])
def test_a_comment_that_holds_a_value_is_left_out(form: str, before: str) -> None:
    comment = form.format("hidden-4711")
    text, _ = without_secrets(f"# the plant\n{before}# {comment}\r\n#{comment}\n")
    assert "4711" not in text
    assert "# the plant" in text


def test_a_secret_of_the_config_is_left_out_of_comments_however_they_say_it() -> None:
    text, _ = without_secrets('[targets.7]\nurl = "https://x.example/"\nbearer_token = "mill"   # of the mill\n')
    assert "mill" not in text


strings = st.text(st.sampled_from("#'\"\\=ab \n"), max_size=12)


@given(st.lists(strings, max_size=4))
def test_what_looks_like_a_comment_in_a_string_stays(values: list[str]) -> None:
    lines = []
    for place, value in enumerate(values):
        lines.append(f"a{place} = {json.dumps(value)}   # token=gone")
        if "'" not in value and "\n" not in value:
            lines.append(f"b{place} = '{value}' # token=gone")
        if "'" not in value:
            lines.append(f"c{place} = '''{value}'''# token=gone")
        if '"' not in value and "\\" not in value:
            lines.append(f'd{place} = """{value}"""# token=gone')
    source = "\n".join(["[device]", *lines])
    text, _ = without_secrets(source)
    assert tomllib.loads(text) == tomllib.loads(source)
    assert "gone" not in text
