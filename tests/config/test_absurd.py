"""A config whose values are of the right type and absurd is a config, or a problem that names the setting."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.config import absurd
from tests.config.test_fuzz import work_with
from vdevice.config import guard
from vdevice.config.load import load, parse
from vdevice.errors import ConfigError, Problem


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("absurd")
    absurd.prepare(folder)
    return folder


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_an_absurd_value_is_a_config_or_a_problem_of_that_setting(folder: Path, data: st.DataObject) -> None:
    text, path = data.draw(absurd.configs())
    began = time.process_time()
    config, problems = None, []
    try:
        config = parse(text, folder)
    except ConfigError as error:
        problems = error.problems
    if config:
        work_with(config, text, folder)
    for problem in problems:
        assert problem.path, (path, problem)
        assert "report this" not in problem.message, (path, problem)
    assert time.process_time() - began < 5


TARGET = '[targets.{}]\nmethod = "get"\nurl = "{}"\n'


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (TARGET.format(7, "http://[::1"), "targets.7.url"),
        (TARGET.format(7, "http://a℀b/"), "targets.7.url"),
        (TARGET.format("7" * 5000, "http://a/"), f"targets.{'7' * 60}…"),
        (TARGET.format(7, "http://a/") + f"tls_ca = {'a' * 5000!r}", "targets.7.tls_ca"),
        (TARGET.format(7, "http://a/") + 'tls_ca = "a\\u0000"', "targets.7.tls_ca"),
        (TARGET.format(7, "http://a/") + "staging_timeout = inf", "targets.7.staging_timeout"),
        (TARGET.format(7, "http://a/") + "timeout = nan", "targets.7.timeout"),
        ('[outbox]\nurl = "sqlite:///a\\u0000"', "outbox.url"),
        (f"[modbus]\nlisten = \"127.0.0.1:{'9' * 5000}\"", "modbus.listen"),
        ("targets = 5", "targets"),
        ("modbus = []", "modbus"),
        ('[[rules]]\nsource = "p"\ndestinations = ["target/' + "1" * 5000 + '"]', "rules[0].source"),
    ],
)  # fmt: skip
def test_the_problem_names_the_setting(text: str, path: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(text, tmp_path)
    assert path in [problem.path for problem in raised.value.problems]


@pytest.mark.parametrize(
    "text",
    [
        "[device]\n" + "".join(f"k{number} = 1\n" for number in range(100_000)),
        "".join(f"k{number} = 1\n" for number in range(100_000)),
        "".join(f"[[points]]\nx{number} = 1\n" for number in range(30_000)),
        "[targets]\n" + "".join(f"{number} = 1\n" for number in range(100_000)),
        "[device]\n" + "".join(f"{'x' * 1_000}{number} = 1\n" for number in range(1_000)),
    ],
    ids=["keys", "sections", "points", "targets", "long keys"],
)
def test_a_flood_of_mistakes_is_told_in_few_problems_and_soon(text: str, tmp_path: Path) -> None:
    began = time.process_time()
    with pytest.raises(ConfigError) as raised:
        parse(text, tmp_path)
    assert len(raised.value.problems) <= guard.MOST_PROBLEMS + 1
    assert "more" in raised.value.problems[-1].message
    assert len(str(raised.value)) < 100_000
    assert time.process_time() - began < 10


def test_a_file_that_is_no_config_at_all_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "vdevice.toml"
    path.write_bytes(b"# \n" * 2**20)
    with pytest.raises(ConfigError, match="larger than"):
        load(path)


def test_whatever_a_check_raises_is_a_problem_with_its_path_and_the_log_has_the_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    secret = "s3" + "cret"

    def broken() -> None:
        raise ValueError(secret)

    problems: list[Problem] = []
    assert guard.guarded("targets.7", problems, broken) is None
    assert [problem.path for problem in problems] == ["targets.7"]
    said = capsys.readouterr().out
    assert "in broken" in said
    assert secret not in said
