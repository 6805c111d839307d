import csv
import io
import json
from pathlib import Path

from tests.config.test_load import FOLDER
from vdevice.config.load import parse
from vdevice.sheets import printed

TOML = '[targets.7]\nmethod = "get"\nurl = "http://x/"\ndescription = "Boiler"'
BOILER = parse(TOML, FOLDER)


def test_register_map_md_is_what_make_map_writes() -> None:
    assert Path("register_map.md").read_text("utf-8") == printed.to_markdown(None), "run `make map`"


def test_csv_has_a_line_for_each_register_or_field() -> None:
    rows = list(csv.DictReader(io.StringIO(printed.to_csv(BOILER))))
    text = next(row for row in rows if row["name"] == "target/7.text")
    assert (text["address"], text["reference"], text["access"]) == ("7000", "407001", "write")
    assert "Boiler" in text["meaning"]
    state = [row["address"] for row in rows if row["name"] == "target/7.state"]
    assert state == ["7000", "7950"]


def test_json_says_the_same_as_csv() -> None:
    rows = json.loads(printed.to_json(BOILER))
    assert len(rows) == len(list(csv.reader(io.StringIO(printed.to_csv(BOILER))))) - 1


def test_a_description_cannot_break_the_table() -> None:
    assert "| a&#124;b c |" in printed.to_markdown(parse(TOML.replace("Boiler", "a|b\\nc"), FOLDER))
