import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdevice.config.edit import settings_of, with_target
from vdevice.config.ownership import KEPT

TEXT = """# the press hall
[modbus]
listen = "127.0.0.1:5020"   # loopback only

[targets.7]
# who is called
method = "post-raw"
url = "http://u.example/"   # the mill's
payload = "$VALUE"
bearer_token = "hidden"
headers = { X-Key = "hidden too" }

# the chat
[targets.08]
method = "slack"
url = "https://hooks.slack.com/services/x"
payload = "$VALUE"
"""


def test_an_editor_sees_no_secret() -> None:
    assert settings_of(TEXT, 7) == {
        "method": "post-raw",
        "url": "http://u.example/",
        "payload": "$VALUE",
        "bearer_token": KEPT,
        "headers": {"X-Key": KEPT},
    }
    slack = settings_of(TEXT, 8)
    assert slack
    assert slack["url"] == KEPT
    assert settings_of(TEXT, 9) is None


def test_what_is_not_changed_stays_as_it_is() -> None:
    settings = settings_of(TEXT, 7)
    assert settings
    assert with_target(TEXT, 7, settings) == TEXT
    changed = with_target(TEXT, 7, {**settings, "payload": "alarm: $VALUE"})
    assert changed == TEXT.replace('payload = "$VALUE"\nbearer', 'payload = "alarm: $VALUE"\nbearer')


def test_a_secret_can_be_replaced_and_removed() -> None:
    settings = settings_of(TEXT, 7)
    assert settings
    changed = with_target(TEXT, 7, {**settings, "bearer_token": "new", "headers": {"X-Other": "y"}})
    table = tomllib.loads(changed)["targets"]["7"]
    assert (table["bearer_token"], table["headers"]) == ("new", {"X-Other": "y"})
    del settings["bearer_token"]
    assert "bearer_token" not in with_target(TEXT, 7, settings)


def test_the_url_of_a_chat_is_not_shown_by_way_of_another_method() -> None:
    settings = settings_of(TEXT, 8)
    assert settings
    assert with_target(TEXT, 8, {**settings, "method": "mattermost"}) == TEXT.replace('"slack"', '"mattermost"')
    with pytest.raises(KeyError, match="url"):
        with_target(TEXT, 8, {**settings, "method": "post-raw"})


def test_a_copy_takes_the_secrets_along_and_a_cleared_target_is_gone() -> None:
    settings = settings_of(TEXT, 7)
    assert settings
    copied = tomllib.loads(with_target(TEXT, 9, settings, source=7))["targets"]
    assert copied["9"] == copied["7"]
    with pytest.raises(KeyError):
        with_target(TEXT, 9, settings)
    cleared = with_target(TEXT, 8, None)
    assert sorted(tomllib.loads(cleared)["targets"]) == ["7"]
    assert "# the press hall" in cleared


def test_a_target_is_added_to_an_empty_file() -> None:
    text = with_target(
        "# nothing yet\n", 3, {"method": "get", "url": "http://x/", "parameters": [["a", "b"], ["c", "d"]]}
    )
    assert text.startswith("# nothing yet\n")
    assert tomllib.loads(text)["targets"]["3"]["parameters"] == [["a", "b"], ["c", "d"]]


values = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.integers(-9, 9) | st.booleans()


@given(
    st.dictionaries(st.sampled_from(["method", "payload", "description", "timeout"]), values),
    st.sampled_from([1, 7, 8]),
)
def test_what_was_saved_is_what_is_read(settings: dict[str, Any], number: int) -> None:
    saved = with_target(TEXT, number, settings)
    before, after = tomllib.loads(TEXT)["targets"], tomllib.loads(saved)["targets"]
    name = "08" if number == 8 else str(number)
    assert after.pop(name) == settings
    before.pop(name, None)
    assert after == before
