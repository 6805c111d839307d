"""The places of docs/reliability.md that tools write: between `<!-- NAME -->` and `<!-- end of NAME -->`."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def replace(name: str, text: str) -> None:
    """Write a text into its place of the page."""
    page = DOCS / "reliability.md"
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    found, count = re.subn(
        f"{re.escape(start)}.*?{re.escape(end)}",
        lambda _: f"{start}\n{text}\n{end}",
        page.read_text("utf-8"),
        flags=re.DOTALL,
    )
    if not count:
        raise SystemExit(f"{page.name} has no place for {name}")
    page.write_text(found, "utf-8")
