import json

import pytest

from tests.support import target_of
from vdevice.webhooks import warnings


def doubts(settings: str) -> dict[str, str]:
    config, _target = target_of(settings)
    return {doubt.path.removeprefix("targets.7."): doubt.message for doubt in warnings.find(config)}


def raw(content_type: str, payload: str, more: str = "") -> dict[str, str]:
    return doubts(f'method = "put"\ncontent_type = "{content_type}"\npayload = {json.dumps(payload)}\n{more}')


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("$VALU", "$VALU is no variable and is sent as it stands; did you mean $VALUE? $$ is a dollar sign"),
        ("${VALU}", "${VALU} is no variable and is sent as it stands; did you mean $VALUE? $$ is a dollar sign"),
        ("$value", "$value is no variable and is sent as it stands; did you mean $VALUE? $$ is a dollar sign"),
        ("${ VALUE }", "${ VALUE } is no variable and is sent as it stands; did you mean $VALUE? $$ is a dollar sign"),
        ("$QQ", "$QQ is no variable and is sent as it stands; $$ is a dollar sign"),
        ("${}", "${} is no variable and is sent as it stands; $$ is a dollar sign"),
    ],
)
def test_a_name_that_is_no_variable_is_named_with_the_one_that_was_meant(written: str, words: str) -> None:
    assert doubts(f'payload = "a {written} b"') == {"payload": words}
    assert doubts(f'headers = {{ X = "{written}" }}') == {"headers.X": words}
    assert doubts(f'method = "get"\nparameters = [["a", "{written}"]]') == {"parameters[0]": words}


@pytest.mark.parametrize("written", ["$VALUE", "$$VALU", "5 $", "$5", "$x", "${VALUE}S", "$VALUES", "{$VALUE}"])
def test_what_is_a_variable_or_looks_like_none_is_no_doubt(written: str) -> None:
    assert doubts(f'payload = "{written}"') == {}


@pytest.mark.parametrize("content_type", ["application/yaml", "application/javascript", "text/markdown", "x/y; a=b"])
def test_a_value_in_a_grammar_without_a_rule_is_doubtful(content_type: str) -> None:
    kind = content_type.partition(";")[0]
    assert f"values are not escaped in {kind}," in raw(content_type, "a: $VALUE")["payload"]
    assert raw(content_type, "a: 1, $$5") == {}
    assert raw(content_type, "a: $VALUE", "raw_variables = true") == {}


@pytest.mark.parametrize(
    ("content_type", "payload", "words"),
    [
        ("text/plain", '{"a": "$VALUE"}', "set content_type to application/json"),
        ("text/plain", "<a>$VALUE</a>", "looks like XML or HTML"),
        ("text/html", "<script>var a = '$VALUE'</script>", "inside <script> or <style>"),
        ("text/html", "<a title=$VALUE>x</a>", "without quotes"),
        ("application/json5", "{a: $VALUE}", "outside of a string"),
    ],
)
def test_a_value_where_no_escape_helps_is_doubtful(content_type: str, payload: str, words: str) -> None:
    assert words in raw(content_type, payload)["payload"]


@pytest.mark.parametrize(
    ("content_type", "payload"),
    [
        ("text/plain", "{ $VALUE"),
        ("text/plain", "a < b $VALUE"),
        ("text/html", "<script>1</script><a title='$VALUE'>$VALUE</a>"),
        ("application/json5", "{a: '$VALUE'} // $VALUE"),
        ("application/json", '{"a": "$VALUE"}'),
        ("text/csv", "$VALUE;1"),
        ("application/x-www-form-urlencoded", "a=$VALUE"),
        ("application/x-ndjson", '{"a": "$VALUE"}'),
        ("application/octet-stream", "$VALUE"),
    ],
)
def test_a_value_that_is_escaped_or_needs_no_escape_is_no_doubt(content_type: str, payload: str) -> None:
    assert raw(content_type, payload) == {}
